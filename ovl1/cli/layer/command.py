"""``ovl1 layer``: the layers of a store; what is done with one is in files of its own."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.layer import look, make, mount
from ovl1.cli.layer.home import layer_argument, opened
from ovl1.model import ChainId, LayerId
from ovl1.store.imagedb import chain_ids
from ovl1.store.layerdb import LayerRecord
from ovl1.store.store import Store
from ovl1.store.trees import LEFTOVER, Tree

_EPILOG = """\b
An image layer's life, on an empty data-root:
  id=$(ovl1 --data-root /mnt/new layer create)
  ovl1 --data-root /mnt/new layer apply $id base.tar.gz
  up=$(ovl1 --data-root /mnt/new layer create --parent $id --read-write)
  touch "$(ovl1 --data-root /mnt/new layer mount $up)/hello"
  ovl1 --data-root /mnt/new layer umount $up
  ovl1 --data-root /mnt/new layer changes $up
  ovl1 --data-root /mnt/new layer diff $up -o top.tar
  ovl1 --data-root /mnt/new layer rm $up $id

\b
ID is the driver's id of a layer, or of an image layer also its chain id or diff id;
the beginning of it is enough.
"""


_TITLES = {
    "chain_id": "Chain id",
    "diff_id": "Diff id",
    "cache_id": "Cache id",
    "parent": "Parent",
    "children": "Children",
    "depth": "Depth",
    "size": "Size",
    "kind": "Tree",
    "lowers": "Stands on",
    "paths": "Directories",
    "tar_split": "Tar-split",
    "images": "Images",
    "containers": "Containers",
}


@click.group(epilog=_EPILOG, short_help="List, make, look into and remove layers.")
def command() -> None:
    """Look into the layers of a store, make and remove some."""


@command.command("ls", epilog=examples("ovl1 layer ls", "ovl1 layer ls --all --json"))
@click.option("-a", "--all", "everything", is_flag=True, help="Also layers without a record.")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@json_option
@click.pass_obj
def ls(context: Context, *, everything: bool, no_trunc: bool) -> None:
    """List the image layers, each below those that stand on it.

    With --all also what else is in the driver's home, such as the layers of containers.
    """
    store = context.store()
    records = _ordered(store)
    others = _others(store) if everything else []
    users, children = _users(store), store.parts.layers.children()
    if context.as_json:
        found = [_as_json(store, record, users, children) for record in records]
        output.print_json(found + [_tree_as_json(store, tree) for tree in others])
    elif context.quiet:
        for record in records:
            click.echo(record.chain_id if no_trunc else record.chain_id.short)
        for tree in others:
            click.echo(output.escaped(_id(tree, whole=no_trunc)))
    else:
        columns = ["CHAIN ID", "DIFF ID", "CACHE ID", ">DEPTH", "TREE", ">SIZE", ">IMAGES"]
        rows = [_row(store, record, users, whole=no_trunc) for record in records]
        if everything:
            columns.append("STANDS ON")
            rows = [[*row, _lowers(store, at)] for row, at in zip(rows, records)]
            rows += [_tree_row(tree, whole=no_trunc) for tree in others]
        output.print_table(columns, rows)


@command.command(
    epilog=examples("ovl1 layer inspect 0073032491", "ovl1 layer inspect sha256:7018 --json")
)
@layer_argument
@json_option
@click.pass_obj
def inspect(context: Context, *, layer: str) -> None:
    """Everything about the layer ID."""
    with opened(context) as home:
        store = home.store
        layer_id = home.find(layer)
    record = store.parts.layers.by_cache_id().get(layer_id)
    if record is not None:
        found = _as_json(store, record, _users(store), store.parts.layers.children())
    else:
        found = _tree_as_json(store, store.trees[layer_id])
    if context.as_json:
        output.print_json(found)
        return
    fields = []
    for key, title in _TITLES.items():
        value = found.get(key)
        lines = value if isinstance(value, list) else [value]
        fields += [[title if at == 0 else "", _text(line)] for at, line in enumerate(lines or [""])]
    output.print_fields(fields)


for _command in (
    make.create,
    make.apply,
    look.diff,
    look.changes,
    look.size,
    mount.mount,
    mount.umount,
    make.rm,
):
    command.add_command(_command)


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


def _others(store: Store) -> List[Tree]:
    """What lies in the driver's home and has no record of an image layer."""
    recorded = store.parts.layers.by_cache_id()
    return [tree for name, tree in sorted(store.trees.items()) if LayerId(name) not in recorded]


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


def _row(
    store: Store, record: LayerRecord, users: Dict[ChainId, List[str]], *, whole: bool
) -> List[str]:
    return [
        record.chain_id if whole else record.chain_id.short,
        record.diff_id if whole else record.diff_id.short,
        record.cache_id if whole else record.cache_id.short,
        str(store.parts.layers.depth(record.chain_id)),
        _kind(store, record),
        output.human_size(record.size),
        str(len(users.get(record.chain_id, []))),
    ]


def _tree_row(tree: Tree, *, whole: bool) -> List[str]:
    lower = tree.lower.short if tree.lower else "-"
    return ["-", "-", _id(tree, whole=whole), "-", tree.kind, "-", "-", lower]


def _id(tree: Tree, *, whole: bool) -> str:
    return tree.name if whole else LayerId(tree.name).short


def _lowers(store: Store, record: LayerRecord) -> str:
    tree = store.trees.get(record.cache_id)
    return tree.lower.short if tree and tree.lower else "-"


def _paths(store: Store, tree: Tree) -> List[str]:
    return [] if tree.kind == LEFTOVER else [str(path) for path in tree.paths(store.layout)]


def _tree_as_json(store: Store, tree: Tree) -> Dict[str, Any]:
    return {
        "chain_id": None,
        "diff_id": None,
        "cache_id": tree.name,
        "kind": tree.kind,
        "reason": tree.reason or None,
        "lowers": list(tree.lowers),
        "paths": _paths(store, tree),
        "containers": sorted(
            mount.container_id
            for mount in store.mounts.values()
            if tree.name in (mount.mount_id, mount.init_id)
        ),
    }


def _as_json(
    store: Store,
    record: LayerRecord,
    users: Dict[ChainId, List[str]],
    children: Dict[Optional[ChainId], List[LayerRecord]],
) -> Dict[str, Any]:
    table = store.parts.layers
    tree = store.trees.get(record.cache_id)
    return {
        "chain_id": record.chain_id,
        "diff_id": record.diff_id,
        "cache_id": record.cache_id,
        "parent": record.parent,
        "children": sorted(above.chain_id for above in children.get(record.chain_id, [])),
        "depth": table.depth(record.chain_id),
        "size": record.size,
        "kind": _kind(store, record),
        "lowers": list(tree.lowers) if tree else [],
        "paths": _paths(store, tree) if tree else [],
        "tar_split": str(record.tar_split) if record.tar_split else None,
        "images": sorted(users.get(record.chain_id, [])),
        "containers": sorted(
            mount.container_id for mount in store.mounts.values() if mount.parent == record.chain_id
        ),
    }
