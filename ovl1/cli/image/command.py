"""``ovl1 image``: list, history, verify; what changes images is in files of its own."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.image import load, rm, save
from ovl1.errors import BrokenStore, CheckFailed, WrongUsage
from ovl1.images.verify import LayerVerdict, layers_of, verify_layer
from ovl1.model import ImageId
from ovl1.store.imagedb import Image, chain_ids
from ovl1.store.layerdb import LayerRecord
from ovl1.store.references import split_name
from ovl1.store.store import Store

NONE = "<none>"


@click.group(
    short_help="List, verify, load, save and remove images.",
    epilog=examples(
        "ovl1 image ls",
        "ovl1 --data-root /mnt/old image save --all -o everything.tar",
        "ovl1 image load app.tar.gz",
        "ovl1 image rm app:1",
    ),
)
def command() -> None:
    """Images of a store, without a daemon."""


for _each in (load.load, load.import_, save.save, rm.rm):
    command.add_command(_each)


@command.command("ls")
@click.option("-a", "--all", "everything", is_flag=True, help="Also the steps of builds.")
@click.option("--digests", is_flag=True, help="Also the digests that registries know.")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@json_option
@click.pass_obj
def ls(context: Context, *, everything: bool, digests: bool, no_trunc: bool) -> None:
    """List images, newest first, as `docker images` does.

    \b
    Examples:
      ovl1 image ls
      ovl1 image ls --all --json
    """
    store = context.store()
    images = _listed(store, everything=everything)
    if context.as_json:
        output.print_json([_as_json(store, image) for image in images])
        return
    if context.quiet:
        for image in images:
            click.echo(image.image_id if no_trunc else image.image_id.short)
        return
    rows = []
    for image in images:
        image_id = image.image_id if no_trunc else image.image_id.short
        rest = [image_id, _when(image.created), _size(store, image)]
        rows += [[*names, *rest] for names in _names(store, image, digests=digests)]
    columns = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", ">SIZE"]
    if not digests:
        columns.remove("DIGEST")
        rows = [row[:2] + row[3:] for row in rows]
    output.print_table(columns, rows)
    _say_errors(context, store)


@command.command()
@click.argument("image")
@click.option("--no-trunc", is_flag=True, help="Whole ids and commands.")
@json_option
@click.pass_obj
def history(context: Context, *, image: str, no_trunc: bool) -> None:
    """How IMAGE was made, newest step first, as `docker history` does.

    IMAGE is a name, name:tag, name@digest, or (the beginning of) an image id.

    \b
    Examples:
      ovl1 image history app:1
      ovl1 image history --no-trunc sha256:eedc4df8
    """
    store = context.store()
    steps = list(_steps(store, store.image(image)))
    if context.as_json:
        output.print_json(steps)
        return
    rows = []
    for step in steps:
        image_id = step["image_id"]
        created_by = step["created_by"]
        rows.append(
            [
                (image_id if no_trunc else image_id.short) if image_id else "<missing>",
                _when(step["created"]),
                created_by if no_trunc else _cut(created_by),
                output.human_size(step["size"]),
                step["comment"],
            ]
        )
    output.print_table(["IMAGE", "CREATED", "CREATED BY", ">SIZE", "COMMENT"], rows)


@command.command()
@click.argument("images", metavar="[IMAGE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every image layer of the store.")
@json_option
@click.pass_obj
def verify(context: Context, *, images: Tuple[str, ...], everything: bool) -> None:
    """Prove that the layers of each IMAGE are bit for bit what they were.

    Each layer's original tar is re-assembled from its tree and its SHA-256 compared with the
    layer's diff id. Exits with 1 if a layer fails, naming the files at fault.

    \b
    Examples:
      ovl1 image verify app:1
      ovl1 image verify --all
    """
    if everything == bool(images):
        raise WrongUsage("give either the images to verify, or --all")
    store = context.store()
    if everything:
        records = list(store.layers.values())
    else:
        records = layers_of(store, (store.image(text) for text in images))
    verdicts = []
    total = sum(record.size for record in records)
    with output.progress("Verifying layers", total, quiet=context.quiet) as advance:
        for record in records:
            verdicts.append(verify_layer(store, record))
            advance(record.size)
    if context.as_json:
        output.print_json([_verdict_as_json(verdict) for verdict in verdicts])
    elif not context.quiet:
        output.print_table(["LAYER", "DIFF ID", ">SIZE", "RESULT"], _verdict_rows(verdicts))
    _judge(store, verdicts)


def _judge(store: Store, verdicts: List[LayerVerdict]) -> None:
    failed = [verdict for verdict in verdicts if not verdict.ok]
    if not failed:
        return
    lines = [
        f"layer {verdict.record.chain_id.short} ({', '.join(_users(store, verdict.record))}): "
        + (f"{output.escaped(os.fsdecode(fault.name))}: " if fault.name else "")
        + output.escaped("; ".join(fault.what.splitlines()))
        for verdict in failed
        for fault in verdict.faults
    ]
    raise CheckFailed(
        f"{len(failed)} of {len(verdicts)} layers cannot be re-assembled as they were",
        details="\n".join(lines),
        resolution="Pull or load those images again; everything else in them is unharmed.",
    )


def _users(store: Store, record: LayerRecord) -> List[str]:
    """Names of the images that contain a layer."""
    found = []
    for image in store.images.values():
        if record.chain_id in chain_ids(image.diff_ids):
            found += store.references.tags_of(image.image_id)
    return found or ["no tagged image"]


def _verdict_rows(verdicts: List[LayerVerdict]) -> List[List[str]]:
    return [
        [
            verdict.record.chain_id.short,
            verdict.record.diff_id.short,
            output.human_size(verdict.record.size),
            "ok" if verdict.ok else f"faults: {len(verdict.faults)}",
        ]
        for verdict in verdicts
    ]


def _verdict_as_json(verdict: LayerVerdict) -> Dict[str, Any]:
    return {
        "chain_id": verdict.record.chain_id,
        "diff_id": verdict.record.diff_id,
        "ok": verdict.ok,
        "faults": [{"file": os.fsdecode(f.name), "what": f.what} for f in verdict.faults],
    }


def _listed(store: Store, *, everything: bool) -> List[Image]:
    """Images, newest first; without the nameless ones that others were built from."""
    named = {*store.references.tags.values(), *store.references.digests.values()}
    steps = set(store.parts.images.children())
    return sorted(
        (
            image
            for key, image in store.images.items()
            if everything or key in named or key not in steps
        ),
        key=lambda image: (image.created, image.image_id),
        reverse=True,
    )


def _names(store: Store, image: Image, *, digests: bool) -> Iterator[Tuple[str, str, str]]:
    """What `docker images` shows in its first three columns, a line each."""
    tags = _by_repository(store.references.tags_of(image.image_id))
    known = _by_repository(store.references.digests_of(image.image_id))
    for repository in sorted({*tags, *known}):
        for _, tag, _ in tags.get(repository, [(repository, NONE, "")]):
            for _, _, digest in (digests and known.get(repository)) or [("", "", NONE)]:
                yield repository, tag, digest
    if not tags and not known:
        yield NONE, NONE, NONE


def _by_repository(references: List[str]) -> Dict[str, List[Tuple[str, str, str]]]:
    found: Dict[str, List[Tuple[str, str, str]]] = {}
    for parts in map(split_name, references):
        found.setdefault(parts[0], []).append(parts)
    return found


def _as_json(store: Store, image: Image) -> Dict[str, Any]:
    return {
        "id": image.image_id,
        "tags": store.references.tags_of(image.image_id),
        "digests": store.references.digests_of(image.image_id),
        "created": image.created,
        "size": _bytes(store, image),
        "layers": list(image.diff_ids),
        "top": image.top,
        "parent": image.parent,
        "architecture": image.architecture,
        "os": image.os,
        "author": image.author,
    }


def _bytes(store: Store, image: Image) -> Optional[int]:
    try:
        return store.size(image)
    except BrokenStore:
        return None


def _size(store: Store, image: Image) -> str:
    size = _bytes(store, image)
    return "broken" if size is None else output.human_size(size)


def _steps(store: Store, image: Image) -> Iterator[Dict[str, Any]]:
    """Steps with their sizes, newest first, each with the local image that it made."""
    sizes = iter([record.size for record in reversed(store.chain(image))])
    steps: List[Dict[str, Any]] = [
        {
            "created": entry.created,
            "created_by": entry.created_by,
            "comment": entry.comment,
            "empty_layer": entry.empty_layer,
            "size": 0 if entry.empty_layer else next(sizes, 0),
        }
        for entry in image.history
    ]
    made: Optional[ImageId] = image.image_id
    for step in reversed(steps):
        step["image_id"] = made
        step["tags"] = store.references.tags_of(made) if made else []
        yield step
        made = store.images[made].parent if made in store.images else None


def _when(created: str) -> str:
    """An RFC 3339 time to the second, as written: the store's own zone is UTC."""
    return created[:19].replace("T", " ")


def _cut(text: str, width: int = 45) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _say_errors(context: Context, store: Store) -> None:
    if store.errors and not context.quiet:
        output.remark(f"{len(store.errors)} problems in the store; `ovl1 -v info` lists them.")
