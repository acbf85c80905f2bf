"""What the commands of ``ovl1 migrate`` print."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context
from ovl1.driver.cost import Cost
from ovl1.linux.procs import User
from ovl1.migrate import modes, room
from ovl1.migrate.engine import Outcome, Prepared, Proof
from ovl1.migrate.plan import ELSEWHERE, IN_PLACE, Plan
from ovl1.migrate.room import Demand
from ovl1.migrate.verify import Verification
from ovl1.store import daemonjson
from ovl1.store.acceptance import Acceptance
from ovl1.store.layout import OVERLAY


def print_outcome(context: Context, outcome: Outcome, found: Optional[Acceptance] = None) -> None:
    """What a migration has done."""
    built, proof, plan = outcome.built, outcome.proof, outcome.plan
    values: Dict[str, Any] = {
        "data_root": str(plan.data_root),
        "layers": len(plan.layers),
        "containers": len(plan.containers),
        "directories": built.directories,
        "linked": built.linked,
        "copied": built.copied,
        "whiteouts": built.whiteouts,
        "orphans": _orphans_values(plan),
        "left": list(plan.left),
        "squashed": [
            {**asdict(deep), "became": outcome.squashed.get(deep.of)} for deep in plan.squash
        ],
        "proof": asdict(proof) if proof else None,
        "daemon_json": str(plan.daemon_json) if plan.daemon_json else None,
        "engine": asdict(found) if found else None,
    }
    if context.as_json:
        output.print_json(values)
        return
    made = f"{built.linked} entries linked, {built.copied} copied, {built.directories} directories"
    click.echo(
        f"Migrated {values['layers']} layers and {values['containers']} containers to overlay2: "
        f"{'in place' if plan.mode == IN_PLACE else made}."
    )
    for deep in plan.squash:
        new = outcome.squashed.get(deep.of)
        click.echo(output.escaped(f"Squashed {deep.words}" + (f"; now {new}." if new else ".")))
    if proof is not None:
        _print_proof(proof.views, None if proof.quick else proof.diff_ids, 0, proof.notes)
    if plan.left and not context.quiet:
        output.remark(f"Not taken along, and deleted by a purge: {len(plan.left)} things.")
        for text in plan.left:
            output.remark(f"  {text}")
    if plan.daemon_json:
        kept = plan.daemon_json_kept
        old = f"; the old one is {kept}" if kept and kept.exists() else ""
        click.echo(output.escaped(f"{plan.daemon_json} names overlay2 now{old}."))
    elif found is not None:
        print_acceptance(found, daemonjson.DEFAULT)
    if not context.quiet:
        output.remark(_next(plan, proof))


def _next(plan: Plan, proof: Optional[Proof]) -> str:
    """What is to be done after a migration."""
    driver = "if daemon.json or the service says storage-driver overlay, change it to overlay2; "
    if plan.daemon_json:
        driver = ""
    where = f" --data-root {plan.data_root}" if plan.source_root else ""
    prove = "" if proof and not proof.quick else f"`ovl1{where} migrate verify`, then "
    return (
        f"Next: {driver}start Docker. Later: {prove}`ovl1{where} migrate purge`. To go back: stop "
        f"Docker, `ovl1{where} migrate rollback`."
    )


def plan_values(prepared: Prepared, wanted: Demand) -> Dict[str, Any]:
    """The plan for programs."""
    made, cost = prepared.plan, wanted.cost
    # Their chain ids are known when the layers below them have been hashed.
    new = {name for name, tree in prepared.store.trees.items() if tree.name != name}
    return {
        "data_root": str(made.data_root),
        "layers": [
            {
                "id": c.layer_id,
                "kind": c.kind,
                "of": None if c.layer_id in new else c.of,
                "lowers": list(c.lowers),
            }
            for c in prepared.layers
        ],
        "containers": list(made.containers),
        "orphans": _orphans_values(made),
        "left": list(made.left),
        "squash": [asdict(deep) for deep in made.squash],
        "steps": [step.what for step in modes.steps_of(made)],
        "inodes": {
            "needed_now": _meanwhile(wanted),
            "after_purge": cost.final_inodes,
            "for_directory_times": cost.for_times,
        },
        "bytes_copied": 0 if made.mode == IN_PLACE else cost.built.copied_bytes,
    }


def _meanwhile(wanted: Demand) -> int:
    """Inodes needed until the old store is gone."""
    return wanted.need.inodes if wanted.mode == IN_PLACE else wanted.cost.new_inodes


def plan_fields(prepared: Prepared, wanted: Demand) -> List[Tuple[str, str]]:
    """The plan for people."""
    made, cost = prepared.plan, wanted.cost
    kinds: Dict[str, int] = {}
    for conversion in prepared.layers:
        kinds[conversion.kind] = kinds.get(conversion.kind, 0) + 1
    fields = [("data-root", str(made.data_root))]
    fields += [(f"{kind} layers", str(number)) for kind, number in sorted(kinds.items())]
    fields += [
        ("containers to switch", str(len(made.containers))),
        ("inodes needed meanwhile", str(_meanwhile(wanted))),
        (f"inodes of {OVERLAY}2 in the end", str(cost.final_inodes)),
    ]
    if made.mode != IN_PLACE:
        fields += [
            ("entries linked, not copied", str(cost.built.linked)),
            ("data copied", output.human_size(cost.built.copied_bytes)),
        ]
    fields += [
        ("orphan", f"{layer} on {parent}" if parent else f"{layer} on nothing")
        for layer, parent in made.orphans
    ]
    fields += [("squashed", deep.words) for deep in made.squash]
    fields += [("not taken along", text) for text in made.left]
    return fields


def _orphans_values(made: Plan) -> List[Dict[str, Optional[str]]]:
    return [{"id": layer, "parent": parent} for layer, parent in made.orphans]


def demands_values(found: Sequence[Demand]) -> List[Dict[str, Any]]:
    """What the modes need, for programs."""
    best = room.recommended(found)
    return [
        {
            "mode": demand.mode,
            "needed": demand.need._asdict(),
            "available": demand.free._asdict(),
            "fits": demand.fits,
            "recommended": demand.mode == best,
        }
        for demand in found
    ]


def print_demands(found: Sequence[Demand]) -> None:
    """What the modes need, for people, and which is recommended."""
    rows = [
        [
            demand.mode,
            str(demand.need.inodes),
            "no limit" if demand.free.inodes >= room.NO_LIMIT else str(demand.free.inodes),
            output.human_size(demand.need.bytes),
            output.human_size(demand.free.bytes),
            "yes" if demand.fits else "no",
        ]
        for demand in found
    ]
    if all(demand.mode != ELSEWHERE for demand in found):
        rows.append(["elsewhere (--to DIR)", "?", "?", "?", "?", "name a DIR"])
    click.echo()
    output.print_table(["MODE", ">INODES NEEDED", ">LEFT", ">BYTES NEEDED", ">LEFT", "FITS"], rows)
    best = room.recommended(found)
    how = {None: "another disk, with --to DIR", IN_PLACE: f"{IN_PLACE}, with --in-place"}
    click.echo(f"Recommended: {how.get(best, best)}.")


def print_acceptance(found: Acceptance, config: Path) -> None:
    """What the chosen engine will do with the new store."""
    click.echo()
    if found.accepts and not found.change:
        click.echo(f"Docker {found.engine} uses the new store as {config} is.")
    elif found.accepts:
        click.echo(f"Docker {found.engine} uses the new store once {config} says:")
    else:
        click.echo(f"Docker {found.engine} would not use the new store:")
    for key, value in found.change.items():
        click.echo(f"  {json.dumps(key)}: {json.dumps(value)}")
    for line in (*found.problems, *found.remarks):
        click.echo(f"  {output.escaped(line)}")


def print_plan_remarks(
    context: Context, prepared: Prepared, cost: Cost, users: Sequence[User]
) -> None:
    """What else is to be known before one begins; the steps, if more is wanted."""
    if users:
        output.remark(
            f"In use now, to be stopped first: process {users[0].pid} ({users[0].command}) "
            f"{users[0].what}" + (f", and {len(users) - 1} more." if users[1:] else ".")
        )
    if cost.for_times and prepared.plan.keep_directory_times:
        output.remark(
            f"{cost.for_times} of the new directories only keep a time that Docker "
            "made up when it unpacked; --directory-times=image leaves them out."
        )
    if context.verbosity > 0:
        for number, step in enumerate(modes.steps_of(prepared.plan), 1):
            click.echo(f"{number:4}. {output.escaped(step.what)}")


def verification_values(result: Verification) -> Dict[str, Any]:
    """A proof for programs."""
    return {
        "passed": result.passed,
        "views": result.views,
        "diff_ids": result.diff_ids,
        "quick": result.quick,
        "differences": result.differences,
        "notes": result.notes,
    }


def print_verification(result: Verification) -> None:
    """A proof for people."""
    diff_ids = None if result.quick else result.diff_ids
    _print_proof(result.views, diff_ids, len(result.differences), result.notes)


def _print_proof(
    views: int, diff_ids: Optional[int], differences: int, notes: Sequence[str]
) -> None:
    for note in notes:
        click.echo(f"note: {output.escaped(note)}")
    if diff_ids is None:
        hashed = "structure and metadata only"
    else:
        hashed = f"{diff_ids} layers' tars hashed to their DiffIDs"
    click.echo(f"Verified: {views} merged views compared, {hashed}, {differences} differences.")
