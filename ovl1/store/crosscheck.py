"""Whether the parts of a store agree: each reference leads somewhere, each tree has an owner.

Every part was read on its own (layers, images, ...) with its own problems; here are those that
only show between them. What another driver or BuildKit may own is told apart and never called
garbage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional, Set

from ovl1.model import ChainId, LayerId
from ovl1.store.containers import Container, ContainerTable
from ovl1.store.imagedb import ImageTable
from ovl1.store.layerdb import LayerTable
from ovl1.store.layout import Layout
from ovl1.store.mounts import MountRecord, MountTable
from ovl1.store.problem import Problem
from ovl1.store.references import References
from ovl1.store.trees import IMAGE, LEFTOVER, STACKED, Tree, TreeTable

_RELOAD = "Remove the images that use this layer and load or pull them again."
_NO_START = "The container cannot start; `docker rm` it, or restore the tree from a backup."


@dataclass(frozen=True)
class Parts:
    """Everything that was read of one store."""

    layout: Layout
    layers: LayerTable
    images: ImageTable
    references: References
    mounts: MountTable
    containers: ContainerTable
    trees: TreeTable


def cross_problems(parts: Parts) -> Iterator[Problem]:
    """The problems between the parts."""
    yield from _layers(parts)
    yield from _images(parts)
    yield from _references(parts)
    yield from _mounts(parts)
    yield from _containers(parts)
    yield from _orphans(parts)


def orphans(parts: Parts) -> List[Tree]:
    """The trees that nothing refers to, by name; leftovers are not among them."""
    used: Set[str] = set(parts.layers.claimed)
    for mount in parts.mounts.mounts.values():
        used.update(layer_id for layer_id in (mount.mount_id, mount.init_id) if layer_id)
    for tree in parts.trees.trees.values():
        if tree.name in used or tree.is_buildkit:
            used.update(tree.lowers)
    return [
        tree
        for name, tree in sorted(parts.trees.trees.items())
        if name not in used and tree.kind != LEFTOVER
    ]


def tree_objection(parts: Parts, layer_id: LayerId) -> Optional[str]:
    """Why the tree of a layer cannot be used, if so: it is missing, none, or stands on nothing."""
    tree = parts.trees.trees.get(layer_id)
    if tree is None:
        return f"its tree {layer_id.short} is missing"
    if tree.kind == LEFTOVER:
        return f"its tree {layer_id.short} is no layer: {tree.reason}"
    for lower in tree.lowers:
        below = parts.trees.trees.get(lower)
        if below is None or below.kind not in (IMAGE, STACKED):
            return f"its tree {layer_id.short} stands on {lower.short}, missing or no layer"
    return None


def mount_objection(parts: Parts, mount: MountRecord) -> Optional[str]:
    """Why a container's layers cannot be used, if so: one is missing, or below them is another."""
    for layer_id in (mount.mount_id, mount.init_id):
        what = tree_objection(parts, layer_id) if layer_id else None
        if what:
            return what
    return _chain_objection(parts, mount.parent) or _wrong_lower(parts, mount)


def _layers(parts: Parts) -> Iterator[Problem]:
    for record in parts.layers.layers.values():
        what = tree_objection(parts, record.cache_id)
        if what:
            yield Problem(parts.layout.record(record.chain_id), what, _RELOAD)


def _chain_objection(parts: Parts, top: Optional[ChainId]) -> Optional[str]:
    if top is None or top in parts.layers.layers:
        return None
    return f"its top layer {top.short} is missing or broken"


def _images(parts: Parts) -> Iterator[Problem]:
    for image in parts.images.images.values():
        what = _chain_objection(parts, image.top)
        where = parts.layout.image_config(image.image_id)
        if what:
            yield Problem(where, what, "Load or pull the image again.")
        if image.parent and image.parent not in parts.images.images:
            yield Problem.note(where, f"the image it was built from, {image.parent.short}, is gone")


def _references(parts: Parts) -> Iterator[Problem]:
    references = parts.references
    for name, image_id in [*references.tags.items(), *references.digests.items()]:
        if image_id not in parts.images.images:
            what = f"{name!r} names image {image_id.short}, which is missing or broken"
            yield Problem(parts.layout.repositories, what, "Load or pull the image again.")


def _mounts(parts: Parts) -> Iterator[Problem]:
    for mount in parts.mounts.mounts.values():
        where = parts.layout.mount(mount.container_id)
        what = mount_objection(parts, mount)
        if what:
            yield Problem(where, what, _NO_START)
        if mount.container_id not in parts.containers.containers:
            yield Problem.note(
                where,
                "it belongs to no container; a build may have been interrupted",
                "Docker removes such layers never by itself.",
            )


def _wrong_lower(parts: Parts, mount: MountRecord) -> Optional[str]:
    """Whether the container's tree stands on another image layer than its record says."""
    tree = parts.trees.trees.get(mount.mount_id)
    record = parts.layers.layers.get(mount.parent) if mount.parent else None
    if tree is None or record is None or record.cache_id in tree.lowers:
        return None
    # Over BuildKit's own changes the container's upper is a copy, and the image layer is below.
    base = parts.trees.trees.get(record.cache_id)
    if base is None or not tree.lowers or tree.lower == base.lower or tree.kind == LEFTOVER:
        return None
    return f"its tree stands on {tree.lowers[0].short}, not on its image's {record.cache_id.short}"


def _containers(parts: Parts) -> Iterator[Problem]:
    for container in parts.containers.containers.values():
        where = container.config_path
        if container.driver != parts.layout.driver:
            yield Problem.note(where, _foreign(container), "It is left alone.")
            continue
        if container.container_id not in parts.mounts.mounts:
            yield Problem(where, f"container {container.name!r} has no layers", _NO_START)
        if container.image_id is None or container.image_id not in parts.images.images:
            what = f"the image of container {container.name!r} is missing or broken"
            yield Problem.note(where, what, "It can still be started and exported.")


def _foreign(container: Container) -> str:
    driver = container.driver or "aufs, by being empty"
    return f"container {container.name!r} belongs to storage driver {driver}"


def _orphans(parts: Parts) -> Iterator[Problem]:
    for tree in orphans(parts):
        where = parts.layout.home / tree.name
        if tree.is_buildkit:
            yield Problem.note(
                where,
                "no image or container uses it: part of BuildKit's cache",
                "`docker builder prune` removes it.",
            )
        else:
            yield Problem.note(
                where,
                "an orphan: no image, container or layer refers to it",
                "It takes inodes for nothing; it may be removed while no daemon runs.",
            )
