"""Removing images: names first, then what nothing in the store needs any more.

The rules are those of ``docker rmi`` (moby daemon/images/image_delete.go). What is to go is a plan,
made without touching anything; carrying it out is one step, after which it is finished by whoever
comes next if it is killed. Layers are kept that an image, a container, another layer or BuildKit's
cache stands on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Set, Tuple

from ovl1.driver.base import Driver
from ovl1.errors import Refused
from ovl1.images import pending
from ovl1.linux import mounts
from ovl1.model import ChainId, ImageId
from ovl1.store.imagedb import Image, chain_ids
from ovl1.store.layerdb import LayerRecord
from ovl1.store.needed import needed_layers
from ovl1.store.references import familiar, split_name
from ovl1.store.store import Store


@dataclass(frozen=True)
class Removal:
    """What is to go."""

    names: Tuple[str, ...]
    """``name:tag`` and ``name@digest``."""
    images: Tuple[ImageId, ...]
    layers: Tuple[LayerRecord, ...]
    """Each before those that it stands on."""
    kept: Tuple[str, ...] = ()
    """In words, images that stay although nothing names them any more."""


def plan_removal(
    store: Store, texts: Iterable[str], *, force: bool = False, prune: bool = True
) -> Removal:
    """Find out what removing images takes out of the store; nothing is changed.

    Args:
        texts: names or ids. A name only loses that name, unless it is the image's last one.
        force: also images that stopped containers use, whose layers stay, or that have several
            names.
        prune: also the nameless steps that a removed image was built from.

    Raises:
        WrongUsage: there is no such image.
        Refused: something needs one of them.
    """
    planner = _Planner(store, force=force, prune=prune)
    for text in texts:
        planner.take(text)
    gone = {store.images[image_id] for image_id in planner.gone}
    return Removal(
        tuple(planner.unnamed),
        tuple(planner.gone),
        tuple(_unneeded(store, gone)),
        tuple(words for image_id, words in planner.kept.items() if image_id not in planner.gone),
    )


def remove(driver: Driver, removal: Removal) -> None:
    """Carry it out, durably; the caller holds the store's lock and has changed nothing since.

    Raises:
        Refused: one of the layers is mounted; nothing was changed.
    """
    for record in removal.layers:
        _refuse_mounted(driver.layout.layer(record.cache_id), record)
    notes = [
        pending.unnamed(removal.names),
        *(pending.new_image(image_id) for image_id in removal.images),
        *(pending.new_layer(record.cache_id) for record in removal.layers),
    ]
    pending.begin_removal(driver, notes)
    pending.recover(driver)


def _refuse_mounted(place: Path, record: LayerRecord) -> None:
    for target in mounts.mounted_below(place):
        raise Refused(
            f"layer {record.chain_id.short} is mounted",
            details=os.fspath(target),
            resolution=f"Unmount it (ovl1 layer umount {record.cache_id.short}), then try again.",
        )


class _Planner:
    """What goes so far, and what is left."""

    def __init__(self, store: Store, *, force: bool, prune: bool) -> None:
        self.unnamed: List[str] = []
        self.gone: Dict[ImageId, None] = {}
        self.kept: Dict[ImageId, str] = {}
        self._store = store
        self._force = force
        self._prune = prune
        known = store.references
        self._names: Dict[str, ImageId] = {**known.tags, **known.digests}

    def take(self, text: str) -> None:
        """Plan to remove what `text` means."""
        name = familiar(text)
        if name in self._names:
            self._take_name(name)
            return
        image = self._store.image(text)
        if image.image_id in self.gone or name in self.unnamed:
            return
        self._take_id(image)

    def _take_name(self, name: str) -> None:
        image_id = self._names[name]
        names = self._names_of(image_id)
        left = [other for other in names if other != name]
        if "@" not in name:
            left = _without_stray_digests(left, split_name(name)[0])
        image = self._store.images.get(image_id)
        if not left and image is not None:
            self._refuse_used(image, f"{name} is its last name")
        self._unname(set(names) - set(left))
        if left or image is None:
            return
        children = self._children(image)
        if children:
            self.kept[image_id] = f"{image_id.short} stays: {children[0].short} was built from it"
        else:
            self._remove(image)

    def _take_id(self, image: Image) -> None:
        names = self._names_of(image.image_id)
        tags = [name for name in names if "@" not in name]
        if not self._force and (len(tags) > 1 or len({split_name(name)[0] for name in names}) > 1):
            raise Refused(
                f"image {image.image_id.short} has several names",
                details="\n".join(names),
                resolution="Remove them by name, or all of them with --force.",
            )
        children = self._children(image)
        if children:
            raise Refused(
                f"other images were built from {image.image_id.short}",
                details="\n".join(map(self._called, children)),
                resolution="Remove those first.",
            )
        self._refuse_used(image, "a container needs it")
        self._unname(names)
        self._remove(image)

    def _remove(self, image: Image) -> None:
        """The image, and what it was built from as far as nothing else needs that."""
        self.gone[image.image_id] = None
        parent = self._store.images.get(image.parent) if image.parent else None
        if (
            self._prune
            and parent is not None
            and not self._names_of(parent.image_id)
            and not self._children(parent)
            and not self._users(parent)
        ):
            self._remove(parent)

    def _unname(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.unnamed.append(name)
            del self._names[name]

    def _names_of(self, image_id: ImageId) -> List[str]:
        return sorted(name for name, target in self._names.items() if target == image_id)

    def _children(self, image: Image) -> List[ImageId]:
        return [
            other.image_id
            for other in self._store.images.values()
            if other.parent == image.image_id and other.image_id not in self.gone
        ]

    def _users(self, image: Image) -> List[str]:
        return [
            f"{container.name} ({container.status})"
            for container in self._store.containers.values()
            if container.image_id == image.image_id
        ]

    def _refuse_used(self, image: Image, why: str) -> None:
        users = self._users(image)
        # What is called running on the disk of a stopped machine was running when it stopped.
        if users and not self._force:
            raise Refused(
                f"image {self._called(image.image_id)} is used by containers, and {why}",
                details="\n".join(users),
                resolution="Remove the containers first; with --force, only their image goes, and "
                "they can still be started.",
            )

    def _called(self, image_id: ImageId) -> str:
        tags = self._store.references.tags_of(image_id)
        return f"{', '.join(tags)} ({image_id.short})" if tags else image_id.short


def _without_stray_digests(names: List[str], repository: str) -> List[str]:
    """A digest goes with the last tag of its repository."""
    own = [name for name in names if split_name(name)[0] == repository]
    if any("@" not in name for name in own):
        return names
    return [name for name in names if name not in own]


def _unneeded(store: Store, gone: Set[Image]) -> Sequence[LayerRecord]:
    """The layers of the images that nothing else needs, top first."""
    theirs = {
        record.cache_id: chain_id
        for image in gone
        for chain_id in chain_ids(image.diff_ids)
        for record in [store.layers.get(chain_id)]
        if record is not None
    }
    needed = needed_layers(store.parts, theirs, {image.image_id for image in gone})
    left: Set[ChainId] = set(theirs.values()) - needed
    return [store.layers[chain_id] for chain_id in _top_first(store, left)]


def _top_first(store: Store, chain: Set[ChainId]) -> List[ChainId]:
    return sorted(chain, key=lambda found: (-store.parts.layers.depth(found), found))
