"""``ovl1 layer``: the image layers of a store."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, json_option
from ovl1.model import ChainId
from ovl1.store.imagedb import chain_ids
from ovl1.store.layerdb import LayerRecord
from ovl1.store.store import Store


@click.group()
def command() -> None:
    """List and inspect image layers."""


@command.command("ls")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@json_option
@click.pass_obj
def ls(context: Context, *, no_trunc: bool) -> None:
    """List the image layers, each below those that stand on it.

    \b
    Examples:
      ovl1 layer ls
      ovl1 --json layer ls
    """
    store = context.store()
    records = _ordered(store)
    users, children = _users(store), store.parts.layers.children()
    if context.as_json:
        output.print_json([_as_json(store, record, users, children) for record in records])
        return
    if context.quiet:
        for record in records:
            click.echo(record.chain_id if no_trunc else record.chain_id.short)
        return
    rows = [
        [
            record.chain_id if no_trunc else record.chain_id.short,
            record.diff_id if no_trunc else record.diff_id.short,
            record.cache_id if no_trunc else record.cache_id.short,
            str(store.parts.layers.depth(record.chain_id)),
            _kind(store, record),
            output.human_size(record.size),
            str(len(users.get(record.chain_id, []))),
        ]
        for record in records
    ]
    columns = ["CHAIN ID", "DIFF ID", "CACHE ID", ">DEPTH", "TREE", ">SIZE", ">IMAGES"]
    output.print_table(columns, rows)


@command.command()
@click.argument("layer", metavar="ID")
@json_option
@click.pass_obj
def inspect(context: Context, *, layer: str) -> None:
    """Everything about one layer; ID is (the beginning of) its chain id, diff id or cache id.

    \b
    Examples:
      ovl1 layer inspect 0073032491
      ovl1 layer inspect sha256:701800cab671 --json
    """
    store = context.store()
    record = store.layer(layer)
    found = _as_json(store, record, _users(store), store.parts.layers.children())
    if context.as_json:
        output.print_json(found)
        return
    titles = {
        "chain_id": "Chain id",
        "diff_id": "Diff id",
        "cache_id": "Cache id",
        "parent": "Parent",
        "children": "Children",
        "depth": "Depth",
        "size": "Size",
        "kind": "Tree",
        "paths": "Directories",
        "tar_split": "Tar-split",
        "images": "Images",
        "containers": "Containers",
    }
    fields = []
    for key, title in titles.items():
        value = found[key]
        lines = value if isinstance(value, list) else [value]
        fields += [[title if at == 0 else "", _text(line)] for at, line in enumerate(lines or [""])]
    output.print_fields(fields)


def _text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _ordered(store: Store) -> List[LayerRecord]:
    """Base layers first, and each layer right after the one that it stands on."""
    children = store.parts.layers.children()
    found: List[LayerRecord] = []
    pending = sorted(children.get(None, []), key=lambda record: record.chain_id, reverse=True)
    while pending:
        record = pending.pop()
        found.append(record)
        above = children.get(record.chain_id, [])
        pending += sorted(above, key=lambda record: record.chain_id, reverse=True)
    return found


def _users(store: Store) -> Dict[ChainId, List[str]]:
    """The images that contain each layer, by name or id."""
    found: Dict[ChainId, List[str]] = {}
    for image_id, image in store.images.items():
        names = store.references.tags_of(image_id)
        for chain_id in chain_ids(image.diff_ids):
            found.setdefault(chain_id, []).append(", ".join(names) or image_id)
    return found


def _kind(store: Store, record: LayerRecord) -> str:
    tree = store.trees.get(record.cache_id)
    return tree.kind if tree else "missing"


def _as_json(
    store: Store,
    record: LayerRecord,
    users: Dict[ChainId, List[str]],
    children: Dict[Optional[ChainId], List[LayerRecord]],
) -> Dict[str, Any]:
    table = store.parts.layers
    tree = store.trees.get(record.cache_id)
    usable = tree is not None and _kind(store, record) != "leftover"
    return {
        "chain_id": record.chain_id,
        "diff_id": record.diff_id,
        "cache_id": record.cache_id,
        "parent": record.parent,
        "children": sorted(above.chain_id for above in children.get(record.chain_id, [])),
        "depth": table.depth(record.chain_id),
        "size": record.size,
        "kind": _kind(store, record),
        "paths": [str(path) for path in tree.paths(store.layout)] if tree and usable else [],
        "tar_split": str(record.tar_split) if record.tar_split else None,
        "images": sorted(users.get(record.chain_id, [])),
        "containers": sorted(
            mount.container_id for mount in store.mounts.values() if mount.parent == record.chain_id
        ),
    }
