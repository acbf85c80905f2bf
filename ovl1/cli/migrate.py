"""``ovl1 migrate``: plan, run, verify, rollback, purge, status."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Optional

import click

from ovl1.cli import migrate_output, output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.migrate_options import (
    changing,
    check_modes,
    in_place_option,
    strict_option,
    times_option,
    to_option,
)
from ovl1.driver.cost import cost_of
from ovl1.errors import CheckFailed
from ovl1.migrate import back, engine, finish, modes

_EPILOG = """\b
The usual way, as root, with Docker stopped:
  ovl1 migrate plan           what would be done, and what it takes
  ovl1 migrate run            make the new store, prove it, put it into place
  (start Docker with overlay2, use it until you are content)
  ovl1 migrate purge          delete the old store; no way back from then on

\b
Until the purge, with Docker stopped:
  ovl1 migrate rollback       the data-root is again as it was before

\b
If it was stopped, by Ctrl-C, a kill or a power cut (Docker will not start until one of them):
  ovl1 migrate status         how far it came
  ovl1 migrate resume         go on
  ovl1 migrate rollback       take it back
"""


@click.group(epilog=_EPILOG, short_help="Convert an overlay store to overlay2.")
def command() -> None:
    """Convert an overlay store to overlay2, with all images and containers.

    Ids, names, digests and containers stay what they are. The new layers are made beside the old
    ones from hardlinks, proved, and put into place by renames. Broken parts of the store stay
    behind; `plan` lists them.
    """


@command.command(epilog=examples("ovl1 migrate plan", "ovl1 -v migrate plan"))
@to_option
@in_place_option
@times_option
@strict_option
@json_option
@click.pass_obj
def plan(
    context: Context, *, to: Optional[Path], in_place: bool, directory_times: str, strict: bool
) -> None:
    """Show what a migration would do and what it takes; changes nothing."""
    check_modes(to, in_place=in_place)
    prepared = engine.prepare(
        context.data_root,
        to=to,
        in_place=in_place,
        keep_directory_times=directory_times == "keep",
        strict=strict,
    )
    with phases(context) as progress:
        cost = cost_of(
            prepared.store,
            prepared.layers,
            keep_directory_times=prepared.plan.keep_directory_times,
            copies=to is not None,
            progress=progress,
        )
    if context.as_json:
        output.print_json(migrate_output.plan_values(prepared, cost))
        return
    output.print_fields(migrate_output.plan_fields(prepared, cost))
    if cost.for_times and directory_times == "keep":
        output.remark(
            f"{cost.for_times} of the new directories only keep a time that Docker "
            "made up when it unpacked; --directory-times=image leaves them out."
        )
    if context.verbosity > 0:
        for number, step in enumerate(modes.steps_of(prepared.plan), 1):
            click.echo(f"{number:4}. {output.escaped(step.what)}")


@command.command(
    epilog=examples(
        "ovl1 migrate run",
        "ovl1 --data-root /mnt/old/var/lib/docker migrate run",
        "ovl1 migrate run --in-place",
        "ovl1 migrate run --to /srv/docker",
    )
)
@to_option
@in_place_option
@times_option
@strict_option
@click.option("--no-verify", is_flag=True, help="Do not prove the new layers before using them.")
@json_option
@click.pass_obj
def run(
    context: Context,
    *,
    to: Optional[Path],
    in_place: bool,
    directory_times: str,
    strict: bool,
    no_verify: bool,
) -> None:
    """Migrate the store; Docker must be stopped, and cannot start until it is done.

    If something fails, the data-root is taken back to what it was. Ctrl-C, SIGTERM and SIGHUP stop
    (exit code 4); then `resume` goes on, and `rollback` takes it back.
    """
    check_modes(to, in_place=in_place)
    with changing(context, to) as progress:
        outcome = engine.run(
            context.data_root,
            to=to,
            in_place=in_place,
            keep_directory_times=directory_times == "keep",
            verify=not no_verify,
            strict=strict,
            progress=progress,
        )
    migrate_output.print_outcome(context, outcome)


@command.command(epilog=examples("ovl1 migrate resume"))
@json_option
@click.pass_obj
def resume(context: Context) -> None:
    """Go on with a migration that was stopped, however that came about."""
    with changing(context) as progress:
        outcome = engine.resume(context.data_root, progress=progress)
    migrate_output.print_outcome(context, outcome)


@command.command(epilog=examples("ovl1 migrate verify"))
@json_option
@click.pass_obj
def verify(context: Context) -> None:
    """Prove the new store against the old one, which must not be purged yet.

    Every image layer's tar is put together from the new store and hashed to its DiffID; every
    layer's and container's merged view is compared with the old one. A container that has run
    under overlay2 since differs, of course.
    """
    with phases(context) as progress:
        result = finish.verify(context.data_root, progress)
    if context.as_json:
        output.print_json(migrate_output.verification_values(result))
    else:
        migrate_output.print_verification(result)
    if not result.passed:
        raise CheckFailed(
            f"{len(result.differences)} difference(s) between the old store and the new one",
            details="" if context.as_json else "\n".join(map(output.escaped, result.differences)),
            resolution="If no container has run since, `ovl1 migrate rollback` brings back the "
            "old store; please report it.",
        )


@command.command(epilog=examples("ovl1 migrate rollback"))
@click.option("--discard-new", is_flag=True, help="Even if Docker has made layers since.")
@json_option
@click.pass_obj
def rollback(context: Context, *, discard_new: bool) -> None:
    """Take a migration back, finished or interrupted; Docker must be stopped.

    What containers wrote under overlay2 since is given up: the old store is as it was.
    """
    with changing(context) as progress:
        back.rollback(context.data_root, discard_new=discard_new, progress=progress)
    _say(context, {"state": "rolled back"}, "The data-root is as it was before the migration.")


@command.command(epilog=examples("ovl1 migrate purge"))
@click.option("--unverified", is_flag=True, help="Even if nothing has proved the new store.")
@json_option
@click.pass_obj
def purge(context: Context, *, unverified: bool) -> None:
    """Delete the old store. From then on there is no way back.

    What the plan listed as not taken along is deleted with it.
    """
    with changing(context) as progress:
        removed = finish.purge(context.data_root, unverified=unverified, progress=progress)
    _say(context, {"removed": removed}, f"Deleted the old store, {removed} names.")


@command.command(epilog=examples("ovl1 migrate status"))
@json_option
@click.pass_obj
def status(context: Context) -> None:
    """Tell how far a migration has come, and what can be done."""
    found = finish.status(context.data_root)
    _say(context, asdict(found), "\n".join(filter(None, (found.words, found.resolution))))


def _say(context: Context, values: Dict[str, Any], text: str) -> None:
    if context.as_json:
        output.print_json(values)
    else:
        click.echo(text)
