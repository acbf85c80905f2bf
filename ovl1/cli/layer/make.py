"""``ovl1 layer create``, ``apply`` and ``rm``: what changes a store, so no daemon may run on it."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, BinaryIO, Dict, List, Optional, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.files import watched
from ovl1.cli.freed import measured
from ovl1.cli.layer.home import Home, complete, layer_argument, opened
from ovl1.cli.limits import limits
from ovl1.errors import BrokenStore, HalfDone, OvlError, Refused, WrongUsage
from ovl1.layer.apply import Applied
from ovl1.layer.policy import Policy
from ovl1.model import LayerId


@click.command(
    epilog=examples(
        "ovl1 layer create",
        "ovl1 --data-root /mnt/new --driver overlay2 layer create",
        "id=$(ovl1 layer create --parent 4f1c --read-write)",
    )
)
@click.argument("layer", metavar="[ID]", required=False)
@click.option("--parent", metavar="ID", shell_complete=complete, help="The layer to stand on.")
@click.option("--read-write", is_flag=True, help="A layer to be written to, as containers have.")
@json_option
@click.pass_obj
def create(
    context: Context, *, layer: Optional[str], parent: Optional[str], read_write: bool
) -> None:
    """Make an empty layer and print its id.

    ID is 64 hexadecimal digits, drawn by chance if not given. The data-root may be an empty
    directory, which becomes the home of the overlay driver, or of that given with --driver.
    """
    layer_id = _new_id(layer)
    with opened(context, changing=True, new=parent is None) as home:
        below = home.find(parent) if parent else None
        make = home.driver.create_read_write if read_write else home.driver.create
        make(layer_id, below)
    context.say({"id": layer_id, "parent": below, "read_write": read_write}, layer_id)


@click.command(
    short_help="Fill a new layer with the changes in a tar.",
    epilog=examples(
        "ovl1 layer apply 4f1c layer.tar.gz",
        "ovl1 layer diff 77ab | ovl1 --data-root /mnt/new layer apply 4f1c -",
    ),
)
@layer_argument
@click.argument("file", type=click.File("rb"))
@click.option(
    "--parent",
    metavar="ID",
    shell_complete=complete,
    help="The layer that the tar changes.  [default: the one that it was created on]",
)
@limits
@json_option
@click.pass_obj
def apply(
    context: Context,
    *,
    layer: str,
    file: BinaryIO,
    parent: Optional[str],
    policy: Policy,
) -> None:
    """Fill the new layer ID with the changes in the tar FILE; - is standard input.

    If that fails, the layer is as it was created.
    """
    if file.isatty():
        raise WrongUsage("a tar cannot be typed in: redirect standard input")
    with opened(context, changing=True, policy=policy) as home:
        layer_id = home.find(layer)
        tree = home.store.trees.get(layer_id)
        below = home.find(parent) if parent else (tree.lower if tree else None)
        with watched(file, "Applying", quiet=context.quiet or context.as_json) as tar:
            applied = home.driver.apply_diff(layer_id, below, tar)
    if context.as_json:
        output.print_json({"id": layer_id, "parent": below, **dataclasses.asdict(applied)})
        return
    for warning in applied.warnings:
        output.remark(f"warning: {warning}")
    if not context.quiet:
        output.print_fields(_fields(layer_id, below, applied))


@click.command(epilog=examples("ovl1 layer rm 4f1c 77ab", "ovl1 layer rm --dry-run 4f1c-init"))
@click.argument("layers", metavar="ID...", nargs=-1, required=True, shell_complete=complete)
@click.option("--force", is_flag=True, help="Even what an image, container or layer needs.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@click.pass_obj
def rm(context: Context, *, layers: Tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Remove layers that nothing in the store needs.

    Says how many inodes and bytes the file system has got back.
    """
    with opened(context, changing=not dry_run) as home:
        chosen = _from_the_top(home, layers)
        _refuse_needed(home, chosen, force=force)
        values: Dict[str, Any] = {"removed": chosen, "dry_run": dry_run}
        if dry_run:
            context.say(values, "\n".join(f"Would remove {layer_id}." for layer_id in chosen))
            return
        with measured(home.store.layout.data_root) as freed:
            _remove(home, chosen, context)
    values.update(dataclasses.asdict(freed))
    context.say(values, f"Removed {_count(chosen)}; {freed}.")


def _new_id(given: Optional[str]) -> LayerId:
    try:
        return LayerId.parse(given or os.urandom(32).hex())
    except BrokenStore as error:
        raise WrongUsage(
            error.brief, resolution="An id is 64 hexadecimal digits, small letters; or give none."
        ) from error


def _fields(layer_id: LayerId, below: Optional[LayerId], applied: Applied) -> List[List[str]]:
    fields = [
        ["Layer", layer_id],
        ["Parent", below or "-"],
        ["Size", output.human_size(applied.size)],
        ["Entries", str(applied.entries)],
    ]
    cloned = dataclasses.asdict(applied.cloned)
    if any(cloned.values()):
        fields.append(["From the parent", ", ".join(f"{n} {name}" for name, n in cloned.items())])
    return fields


def _from_the_top(home: Home, texts: Tuple[str, ...]) -> List[LayerId]:
    """The layers, each before those that it stands on."""
    chosen = dict.fromkeys(home.find(text) for text in texts)
    trees = home.store.trees
    return sorted(chosen, key=lambda found: -len(trees[found].lowers if found in trees else ()))


def _refuse_needed(home: Home, chosen: List[LayerId], *, force: bool) -> None:
    needed = [
        f"{layer_id.short} is needed by {user}"
        for layer_id in chosen
        for user in home.needed_by(layer_id, besides=chosen)
    ]
    if needed and not force:
        raise Refused(
            f"the store still needs {'this layer' if len(chosen) == 1 else 'some of these layers'}",
            details="\n".join(needed),
            resolution="Remove the images and containers first; with --force they are broken.",
        )
    for line in needed:
        output.remark(f"warning: {line}")


def _remove(home: Home, chosen: List[LayerId], context: Context) -> None:
    quiet = context.quiet or context.as_json
    with output.progress("Removing layers", len(chosen), quiet=quiet) as advance:
        for number, layer_id in enumerate(chosen):
            try:
                home.driver.remove(layer_id)
            except OvlError as error:
                if not number:
                    raise
                raise HalfDone(
                    f"{_count(chosen[:number])} removed, then: {error.brief}",
                    details=error.details,
                    resolution=f"{error.resolution} Then remove the others.".strip(),
                ) from error
            advance(1)


def _count(layers: List[LayerId]) -> str:
    return f"{len(layers)} layer" + ("" if len(layers) == 1 else "s")
