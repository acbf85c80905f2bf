"""What each layer of a v1 store becomes in the overlay2 layout: the one place that decides it.

The accountant predicts from it and the migration executes it, so the two cannot disagree. Ids are
kept: cache-id, mount-id and init-id name the same layers in both layouts, and so the layer store's
records stay valid as they are.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Set, Tuple

from ovl1.driver.views import open_stack
from ovl1.errors import BrokenStore, LayerError, listed
from ovl1.formats import tarsplit
from ovl1.layer.delta import Event, delta
from ovl1.layer.listing import Listing
from ovl1.model import LayerId
from ovl1.store.layout import WORK
from ovl1.store.store import Store
from ovl1.store.trees import LEFTOVER
from ovl1.tree.hardlink_index import paths_shown_by_index
from ovl1.tree.view import StackView

IMAGE, INIT, CONTAINER, SNAPSHOT = "image", "init", "container", "buildkit"
ORPHAN = "orphan"


@dataclass(frozen=True)
class Conversion:
    """One layer and how it is made anew."""

    layer_id: LayerId
    kind: str
    """`IMAGE`, `INIT`, `CONTAINER`, `SNAPSHOT`, which only BuildKit's own records name, or
    `ORPHAN`, which nothing names."""
    of: str
    """The image layer's chain id, the container's id, or the layer's own id."""
    lowers: Tuple[LayerId, ...]
    """All layers below, nearest first."""
    tar_split: Optional[Path]
    has_children: bool = False

    @property
    def parent(self) -> Optional[LayerId]:
        """The layer that it is compared with."""
        return self.lowers[0] if self.lowers else None

    @property
    def own_copy(self) -> bool:
        """Whether something will write into the layer, so that it must share no inode."""
        return self.kind not in (IMAGE, ORPHAN)


def conversions(
    store: Store, orphans: Optional[Mapping[LayerId, Optional[LayerId]]] = None
) -> List[Conversion]:
    """Every layer of the store that can be converted, parents before their children.

    Layers that nothing refers to are left out, save BuildKit's: its cache refers to them in a
    database of its own.

    Args:
        orphans: layers to be taken along nevertheless, with what each stands on, parents first.

    Raises:
        BrokenStore: a container's image layer is missing.
    """
    found = _images(store)
    by_chain = {conversion.of: conversion for conversion in found}
    found += _containers(store, by_chain)
    found += _snapshots(store, {conversion.layer_id: conversion for conversion in found})
    found += _orphans(orphans or {}, {conversion.layer_id: conversion for conversion in found})
    parents: Set[LayerId] = {c.parent for c in found if c.parent is not None}
    return [replace(c, has_children=c.layer_id in parents) for c in found]


def _images(store: Store) -> List[Conversion]:
    found = []
    for record in store.layers.values():
        chain = store.parts.layers.chain(record.chain_id)
        lowers = tuple(below.cache_id for below in chain[1:])
        found.append(Conversion(record.cache_id, IMAGE, record.chain_id, lowers, record.tar_split))
    return sorted(found, key=lambda conversion: (len(conversion.lowers), conversion.layer_id))


def _containers(store: Store, by_chain: Dict[str, Conversion]) -> Iterator[Conversion]:
    for container_id, mount in sorted(store.mounts.items()):
        lowers: Tuple[LayerId, ...] = ()
        if mount.parent is not None:
            image = by_chain.get(mount.parent)
            if image is None:
                raise BrokenStore(
                    f"container {container_id[:12]} stands on layer {mount.parent.short}, "
                    "which is missing",
                    resolution="Remove the container.",
                )
            lowers = (image.layer_id, *image.lowers)
        if mount.init_id is not None:
            yield Conversion(mount.init_id, INIT, container_id, lowers, None)
            lowers = (mount.init_id, *lowers)
        yield Conversion(mount.mount_id, CONTAINER, container_id, lowers, None)


def _snapshots(store: Store, known: Dict[LayerId, Conversion]) -> Iterator[Conversion]:
    trees = [tree for tree in store.orphans() if tree.is_buildkit and tree.kind != LEFTOVER]
    for tree in sorted(trees, key=lambda tree: (tree.lower is not None, tree.name)):
        lowers: Tuple[LayerId, ...] = ()
        if tree.lower is not None:
            if tree.lower not in known:
                continue
            below = known[tree.lower]
            lowers = (below.layer_id, *below.lowers)
        made = Conversion(tree.layer_id, SNAPSHOT, tree.layer_id, lowers, None)
        known[made.layer_id] = made
        yield made


def _orphans(
    orphans: Mapping[LayerId, Optional[LayerId]], known: Dict[LayerId, Conversion]
) -> Iterator[Conversion]:
    for layer_id, parent in orphans.items():
        lowers: Tuple[LayerId, ...] = ()
        if parent is not None:
            if parent not in known:
                continue
            lowers = (parent, *known[parent].lowers)
        known[layer_id] = Conversion(layer_id, ORPHAN, layer_id, lowers, None)
        yield known[layer_id]


@contextlib.contextmanager
def naming(conversion: Conversion) -> Iterator[None]:
    """Let an error in the block say which layer it is about, and what helps if nothing else."""
    try:
        yield
    except LayerError as err:
        where = f"{conversion.kind} {conversion.of}, layer {conversion.layer_id}"
        if conversion.kind == ORPHAN:
            helps = "Nothing refers to this layer: leave out --include-orphans."
        else:
            helps = (
                "Remove the images or the container that it belongs to; load or pull them again."
            )
        raise LayerError(
            err.brief,
            details="\n".join(filter(None, (where, err.details))),
            resolution=err.resolution or helps,
        ) from err


def open_view(store: Store, layer_id: LayerId) -> StackView:
    """The merged view of a layer of a store in either layout.

    Raises:
        BrokenStore: there is no such layer, or a directory of it is missing.
    """
    tree = store.trees.get(layer_id)
    if tree is None:
        raise BrokenStore(
            f"layer {layer_id.short} has no directory {store.layout.layer(layer_id)}",
            resolution="Restore it from a backup, or remove the image or container.",
        )
    return open_stack(layer_id, tree.paths(store.layout))


def read_listing(conversion: Conversion) -> Optional[Listing]:
    """What the layer's tar lists; None where that is not recorded.

    Raises:
        LayerError: the record is damaged, or the tar has names that no layer may have.
    """
    if conversion.tar_split is None:
        return None
    with open(conversion.tar_split, "rb") as file:
        return Listing(tarsplit.names(file))


def _listing_if_sound(conversion: Conversion) -> Optional[Listing]:
    """Docker uses layers whose record of the tar is damaged; so the trees must do, as without."""
    try:
        return read_listing(conversion)
    except LayerError:
        return None


def _refuse_index(work: Path, view: StackView) -> None:
    shown = paths_shown_by_index(work, view)
    if shown:
        raise LayerError(
            f"{len(shown)} name(s) of files were written by another name, and show it only with "
            "index=on",
            details=listed([os.fsdecode(path) for path in shown]),
            resolution="Write the files anew under these names in the running container "
            "(cp -a f f.new && mv f.new f), or remove the container.",
        )


def content(
    store: Store, conversion: Conversion, *, keep_directory_times: bool = True
) -> Iterator[Event]:
    """What the layer's ``diff`` must hold; see `ovl1.layer.delta`.

    Args:
        keep_directory_times: for what nothing writes to; a container's own are always kept.

    Raises:
        BrokenStore, LayerError: a source is missing or cannot be represented.
    """
    keep = keep_directory_times or conversion.own_copy
    with contextlib.ExitStack() as opened:
        listing = _listing_if_sound(conversion)
        listed = opened.enter_context(listing).root if listing is not None else None
        new = opened.enter_context(open_view(store, conversion.layer_id))
        _refuse_index(store.place(conversion.layer_id) / WORK, new)
        old = None
        if conversion.parent is not None:
            old = opened.enter_context(open_view(store, conversion.parent))
        yield from delta(new, old, listed, keep_directory_times=keep)
