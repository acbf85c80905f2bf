"""``ovl1 migrate``: plan, run, verify, rollback, purge, status."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.driver.cost import Cost, cost_of
from ovl1.errors import CheckFailed
from ovl1.migrate import back, engine, finish, modes
from ovl1.migrate.engine import Outcome, Prepared
from ovl1.migrate.verify import Verification
from ovl1.store.layout import OVERLAY

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

_TO = click.option(
    "--to",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Make a new data-root there, on whatever file system; this one is only read. "
    "Volumes and all else that is no driver's is copied, too.",
)

_KEEP_TIMES = click.option(
    "--directory-times",
    type=click.Choice(["keep", "image"]),
    default="keep",
    show_default=True,
    help="Docker up to 17.11 gave every directory of a layer the time of its unpacking. 'keep' "
    "keeps what the old store shows, at an inode per such directory; 'image' goes back to the "
    "times in the image.",
)


@click.group(epilog=_EPILOG, short_help="Convert an overlay store to overlay2.")
def command() -> None:
    """Convert an overlay store to overlay2, with all images and containers.

    Ids, names, digests and containers stay what they are. The new layers are made beside the old
    ones from hardlinks, proved, and put into place by renames.
    """


@command.command(epilog=examples("ovl1 migrate plan", "ovl1 -v migrate plan"))
@_TO
@_KEEP_TIMES
@json_option
@click.pass_obj
def plan(context: Context, *, to: Optional[Path], directory_times: str) -> None:
    """Show what a migration would do and what it takes; changes nothing."""
    prepared = engine.prepare(
        context.data_root, to=to, keep_directory_times=directory_times == "keep"
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
        output.print_json(_plan_values(prepared, cost))
        return
    output.print_fields(_plan_fields(prepared, cost))
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
        "ovl1 migrate run --to /srv/docker",
    )
)
@_TO
@_KEEP_TIMES
@click.option("--no-verify", is_flag=True, help="Do not prove the new layers before using them.")
@json_option
@click.pass_obj
def run(context: Context, *, to: Optional[Path], directory_times: str, no_verify: bool) -> None:
    """Migrate the store; Docker must be stopped, and cannot start until it is done.

    If something fails, the data-root is taken back to what it was. Ctrl-C stops; then `resume` goes
    on, and `rollback` takes it back.
    """
    with phases(context) as progress:
        outcome = engine.run(
            context.data_root,
            to=to,
            keep_directory_times=directory_times == "keep",
            verify=not no_verify,
            progress=progress,
        )
    _print_outcome(context, outcome)


@command.command(epilog=examples("ovl1 migrate resume"))
@json_option
@click.pass_obj
def resume(context: Context) -> None:
    """Go on with a migration that was stopped, however that came about."""
    with phases(context) as progress:
        outcome = engine.resume(context.data_root, progress=progress)
    _print_outcome(context, outcome)


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
        output.print_json(_verification_values(result))
    else:
        _print_verification(result)
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
    with phases(context) as progress:
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
    with phases(context) as progress:
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


def _print_outcome(context: Context, outcome: Outcome) -> None:
    built, proof, plan = outcome.built, outcome.proof, outcome.plan
    values: Dict[str, Any] = {
        "data_root": str(plan.data_root),
        "layers": len(plan.layers),
        "containers": len(plan.containers),
        "directories": built.directories,
        "linked": built.linked,
        "copied": built.copied,
        "whiteouts": built.whiteouts,
        "left": list(plan.left),
        "proof": asdict(proof) if proof else None,
    }
    if context.as_json:
        output.print_json(values)
        return
    click.echo(
        f"Migrated {values['layers']} layers and {values['containers']} containers to overlay2: "
        f"{built.linked} entries linked, {built.copied} copied, {built.directories} directories."
    )
    if proof is not None:
        _print_proof(proof.views, proof.diff_ids, 0, proof.notes)
    if not context.quiet:
        output.remark(
            "Next: if daemon.json or the service says storage-driver overlay, change it to "
            "overlay2; start Docker. Later: `ovl1 migrate purge`. To go back: stop Docker, "
            "`ovl1 migrate rollback`."
        )


def _plan_values(prepared: Prepared, cost: Cost) -> Dict[str, Any]:
    made = prepared.plan
    return {
        "data_root": str(made.data_root),
        "layers": [
            {"id": c.layer_id, "kind": c.kind, "of": c.of, "lowers": list(c.lowers)}
            for c in prepared.layers
        ],
        "containers": list(made.containers),
        "left": list(made.left),
        "steps": [step.what for step in modes.steps_of(made)],
        "inodes": {
            "needed_now": cost.new_inodes,
            "after_purge": cost.final_inodes,
            "for_directory_times": cost.for_times,
        },
        "bytes_copied": cost.built.copied_bytes,
    }


def _plan_fields(prepared: Prepared, cost: Cost) -> List[Tuple[str, str]]:
    made = prepared.plan
    kinds: Dict[str, int] = {}
    for conversion in prepared.layers:
        kinds[conversion.kind] = kinds.get(conversion.kind, 0) + 1
    fields = [("data-root", str(made.data_root))]
    fields += [(f"{kind} layers", str(number)) for kind, number in sorted(kinds.items())]
    fields += [
        ("containers to switch", str(len(made.containers))),
        ("inodes needed meanwhile", str(cost.new_inodes)),
        (f"inodes of {OVERLAY}2 in the end", str(cost.final_inodes)),
        ("entries linked, not copied", str(cost.built.linked)),
        ("data copied", output.human_size(cost.built.copied_bytes)),
    ]
    fields += [("not taken along", text) for text in made.left]
    return fields


def _verification_values(result: Verification) -> Dict[str, Any]:
    return {
        "passed": result.passed,
        "views": result.views,
        "diff_ids": result.diff_ids,
        "differences": result.differences,
        "notes": result.notes,
    }


def _print_verification(result: Verification) -> None:
    _print_proof(result.views, result.diff_ids, len(result.differences), result.notes)


def _print_proof(views: int, diff_ids: int, differences: int, notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"note: {output.escaped(note)}")
    click.echo(
        f"Verified: {views} merged views compared, {diff_ids} layers' tars "
        f"hashed to their DiffIDs, {differences} differences."
    )
