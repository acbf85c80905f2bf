"""``ovl1 migrate``: plan, run, verify, rollback, purge, status."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.migrate import tables
from ovl1.cli.migrate.options import (
    Manners,
    certificate_option,
    engine_option,
    manners_options,
    quick_option,
    wishes,
    working,
)
from ovl1.errors import CheckFailed, WrongUsage
from ovl1.linux.procs import users_of
from ovl1.migrate import back, daemon, finish, room
from ovl1.migrate import engine as migration
from ovl1.migrate.options import Options
from ovl1.store import daemonjson
from ovl1.store.acceptance import Acceptance

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

\b
Exit codes, for scripts:
  0  done; plan: ready (once Docker is stopped)
  1  verify: the stores differ
  2  wrong usage, or no such store
  3  refused, and nothing was changed: says why, and what to do
  4  stopped half-way, also by SIGINT, SIGTERM or SIGHUP: says what to run next
  5  not possible here: inodes or bytes are missing, or an ability of the host
"""


@click.group(epilog=_EPILOG, short_help="Convert an overlay store to overlay2.")
def command() -> None:
    """Convert an overlay store to overlay2, with all images and containers.

    Ids, names, digests and containers stay what they are. The new layers are made beside the old
    ones from hardlinks, proved, and put into place by renames. Broken parts of the store stay
    behind; `plan` lists them.
    """


@command.command(
    epilog=examples(
        "ovl1 migrate plan",
        "ovl1 -v migrate plan",
        "ovl1 migrate plan --to /srv/docker",
        "ovl1 migrate plan --squash",
        "ovl1 --json migrate plan --engine 29",
    )
)
@wishes
@engine_option
@json_option
@click.pass_obj
def plan(context: Context, *, options: Options, engine: Optional[str]) -> None:
    """Show what a migration would do and what it takes; changes nothing.

    Its exit code tells scripts whether `run` with the same options could begin: 0 yes (once Docker
    is stopped), 3 something forbids it, 5 it does not fit.
    """
    with phases(context) as progress:
        prepared = migration.prepare(context.data_root, options, progress)
    config = options.daemon_json or daemonjson.DEFAULT
    found = _judged(context, engine, options.to, config)
    with phases(context) as progress:
        demands = room.demands(prepared.store, prepared.layers, prepared.plan, progress)
    wanted = next(demand for demand in demands if demand.mode == prepared.plan.mode)
    users = users_of(prepared.store.layout.data_root)
    if context.as_json:
        values = tables.plan_values(prepared, wanted)
        values["modes"] = tables.demands_values(demands)
        values["engine"] = asdict(found) if found else None
        values["in_use"] = [user._asdict() for user in users]
        output.print_json(values)
    else:
        output.print_fields(tables.plan_fields(prepared, wanted))
        tables.print_demands(demands)
        if found:
            tables.print_acceptance(found, config)
        tables.print_plan_remarks(context, prepared, wanted.cost, users)
    if found:
        daemon.refuse_unaccepted(found, config)
    wanted.refuse_unfit()


@command.command(
    epilog=examples(
        "ovl1 migrate run",
        "ovl1 --data-root /mnt/old/var/lib/docker migrate run",
        "ovl1 migrate run --in-place",
        "ovl1 migrate run --to /srv/docker",
        "ovl1 migrate run --squash",
        "ovl1 migrate run --engine 29 --write-daemon-json --log /var/log/ovl1.log",
    )
)
@wishes
@click.option("--no-verify", is_flag=True, help="Do not prove the new layers before using them.")
@quick_option
@certificate_option
@engine_option
@manners_options
@json_option
@click.pass_obj
def run(
    context: Context,
    *,
    options: Options,
    no_verify: bool,
    quick: bool,
    certificate: Optional[Path],
    engine: Optional[str],
    manners: Manners,
) -> None:
    """Migrate the store; Docker must be stopped, and cannot start until it is done.

    If something fails, the data-root is taken back to what it was. Ctrl-C, SIGTERM and SIGHUP stop
    (exit code 4); then `resume` goes on, and `rollback` takes it back.
    """
    if no_verify and (quick or certificate):
        raise WrongUsage(
            "without a proof there is neither a quick one nor a certificate",
            resolution="Leave out --no-verify, or --quick and --certificate.",
        )
    config = options.daemon_json or daemonjson.DEFAULT
    options = replace(options, verify=not no_verify, quick=quick)
    with working(context, "run", manners, options.to) as progress:
        found = _judged(context, engine, options.to, config)
        if found:
            daemon.refuse_unaccepted(found, config)
        outcome = migration.run(context.data_root, options, progress=progress)
        if certificate:
            finish.keep_certificate(outcome.plan.data_root, certificate)
    tables.print_outcome(context, outcome, found)


@command.command(epilog=examples("ovl1 migrate resume"))
@certificate_option
@manners_options
@json_option
@click.pass_obj
def resume(context: Context, *, certificate: Optional[Path], manners: Manners) -> None:
    """Go on with a migration that was stopped, however that came about."""
    with working(context, "resume", manners) as progress:
        outcome = migration.resume(context.data_root, progress=progress)
        if certificate:
            finish.keep_certificate(outcome.plan.data_root, certificate)
    tables.print_outcome(context, outcome)


@command.command(
    epilog=examples(
        "ovl1 migrate verify",
        "ovl1 migrate verify --certificate /root/ovl1-certificate.json",
        "ovl1 migrate verify --quick --engine 29",
    )
)
@quick_option
@certificate_option
@engine_option
@manners_options
@json_option
@click.pass_obj
def verify(
    context: Context,
    *,
    quick: bool,
    certificate: Optional[Path],
    engine: Optional[str],
    manners: Manners,
) -> None:
    """Prove the new store against the old one, which must not be purged yet.

    Every image layer's tar is put together from the new store and hashed to its DiffID; every
    layer's and container's merged view is compared with the old one. A container that has run
    under overlay2 since differs, of course. With --quick contents are not read; an earlier full
    proof then stays what it is.
    """
    found = _judged(context, engine, None, daemonjson.DEFAULT)
    with working(context, "verify", manners, changes=False) as progress:
        result = finish.verify(context.data_root, progress, quick=quick, kept=certificate)
    if context.as_json:
        values = tables.verification_values(result)
        values["engine"] = asdict(found) if found else None
        output.print_json(values)
    else:
        tables.print_verification(result)
        if found:
            tables.print_acceptance(found, daemonjson.DEFAULT)
    if not result.passed:
        raise CheckFailed(
            f"{len(result.differences)} difference(s) between the old store and the new one",
            details="" if context.as_json else "\n".join(map(output.escaped, result.differences)),
            resolution="If no container has run since, `ovl1 migrate rollback` brings back the "
            "old store; please report it.",
        )
    if found and not found.accepts:
        raise CheckFailed(
            f"Docker {found.engine} would not use the new store",
            details="\n".join(found.problems),
            resolution=f"Change that in {daemonjson.DEFAULT}.",
        )


@command.command(epilog=examples("ovl1 migrate rollback"))
@click.option("--discard-new", is_flag=True, help="Even if Docker has made layers since.")
@manners_options
@json_option
@click.pass_obj
def rollback(context: Context, *, discard_new: bool, manners: Manners) -> None:
    """Take a migration back, finished or interrupted; Docker must be stopped.

    What containers wrote under overlay2 since is given up: the old store is as it was. So is
    daemon.json, if the migration has changed it, but for what others have changed in it since.
    """
    with working(context, "rollback", manners) as progress:
        back.rollback(context.data_root, discard_new=discard_new, progress=progress)
    context.say({"state": "rolled back"}, "The data-root is as it was before the migration.")


@command.command(epilog=examples("ovl1 migrate purge"))
@click.option(
    "--unverified", is_flag=True, help="Even if nothing has proved the new store in full."
)
@manners_options
@json_option
@click.pass_obj
def purge(context: Context, *, unverified: bool, manners: Manners) -> None:
    """Delete the old store. From then on there is no way back.

    What the plan listed as not taken along is deleted with it.
    """
    with working(context, "purge", manners) as progress:
        removed = finish.purge(context.data_root, unverified=unverified, progress=progress)
    context.say({"removed": removed}, f"Deleted the old store, {removed} names.")


@command.command(epilog=examples("ovl1 migrate status"))
@json_option
@click.pass_obj
def status(context: Context) -> None:
    """Tell how far a migration has come, and what can be done."""
    found = finish.status(context.data_root)
    context.say(asdict(found), "\n".join(filter(None, (found.words, found.resolution))))


def _judged(
    context: Context, engine: Optional[str], to: Optional[Path], config: Path
) -> Optional[Acceptance]:
    """What the chosen engine will do with the new store, if one was chosen."""
    if engine is None:
        return None
    return daemon.judge(engine, context.data_root, to=to, config=config)
