"""What the commands of ``ovl1 migrate`` print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Dict, List, Sequence, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context
from ovl1.driver.cost import Cost
from ovl1.migrate import modes
from ovl1.migrate.engine import Outcome, Prepared
from ovl1.migrate.plan import IN_PLACE
from ovl1.migrate.verify import Verification
from ovl1.store.layout import OVERLAY


def print_outcome(context: Context, outcome: Outcome) -> None:
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
        "left": list(plan.left),
        "proof": asdict(proof) if proof else None,
    }
    if context.as_json:
        output.print_json(values)
        return
    made = f"{built.linked} entries linked, {built.copied} copied, {built.directories} directories"
    click.echo(
        f"Migrated {values['layers']} layers and {values['containers']} containers to overlay2: "
        f"{'in place' if plan.mode == IN_PLACE else made}."
    )
    if proof is not None:
        _print_proof(proof.views, proof.diff_ids, 0, proof.notes)
    if plan.left and not context.quiet:
        output.remark(f"Not taken along, and deleted by a purge: {len(plan.left)} things.")
        for text in plan.left:
            output.remark(f"  {text}")
    if not context.quiet:
        output.remark(
            "Next: if daemon.json or the service says storage-driver overlay, change it to "
            "overlay2; start Docker. Later: `ovl1 migrate purge`. To go back: stop Docker, "
            "`ovl1 migrate rollback`."
        )


def plan_values(prepared: Prepared, cost: Cost) -> Dict[str, Any]:
    """The plan for programs."""
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


def plan_fields(prepared: Prepared, cost: Cost) -> List[Tuple[str, str]]:
    """The plan for people."""
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


def verification_values(result: Verification) -> Dict[str, Any]:
    """A proof for programs."""
    return {
        "passed": result.passed,
        "views": result.views,
        "diff_ids": result.diff_ids,
        "differences": result.differences,
        "notes": result.notes,
    }


def print_verification(result: Verification) -> None:
    """A proof for people."""
    _print_proof(result.views, result.diff_ids, len(result.differences), result.notes)


def _print_proof(views: int, diff_ids: int, differences: int, notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"note: {output.escaped(note)}")
    click.echo(
        f"Verified: {views} merged views compared, {diff_ids} layers' tars "
        f"hashed to their DiffIDs, {differences} differences."
    )
