"""How many inodes and bytes removing images, containers and layers together would free: exactly.

An inode that is no directory is freed when the last of its names goes, so its names within what
goes are counted and compared with its link count. Nothing is changed. Limits: files that a process
holds open are freed only when it closes them; of blocks that several files share (reflinks) it is
said how many there are, not whether all these files go; xfs gives back the space of the inodes
themselves, too, where 64 neighbours are free; a daemon's own notes of registries
(``distribution/``) stay, as they do.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Collection, Dict, List, Set, Tuple

from ovl1.linux.beneath import DIR, FILE, Directory, Name
from ovl1.linux.extents import may_share, shared_bytes
from ovl1.linux.trail import Trail
from ovl1.model import ChainId, ContainerId, ImageId, LayerId, Progress, no_progress
from ovl1.store.layout import LINK, LINKS, OVERLAY2
from ovl1.store.needed import needed_layers
from ovl1.store.store import Store

_BLOCK = 512  # what st_blocks counts in, whatever the file system's own
_LONGEST_LINK = 64


@dataclass(frozen=True)
class Going:
    """What is to be removed."""

    images: Tuple[ImageId, ...] = ()
    containers: Tuple[ContainerId, ...] = ()
    records: Tuple[ChainId, ...] = ()
    """Image layers, with their records and their trees."""
    trees: Tuple[LayerId, ...] = ()
    """Directories of the driver alone."""


@dataclass
class Freed:
    """What comes free."""

    directories: int = 0
    files: int = 0
    """Everything else that has an inode."""
    bytes: int = 0
    """Of disk space, directories' own included."""
    shared_bytes: int = 0
    """Of these, in blocks of several files (reflinks): they come free with the last of these."""

    @property
    def inodes(self) -> int:
        """All of them."""
        return self.directories + self.files


@dataclass
class Freeing:
    """What comes free, by where it is; an inode belongs to where its last name was met."""

    trees: Freed = field(default_factory=Freed)
    """In the driver's home."""
    records: Freed = field(default_factory=Freed)
    """In the layer store."""
    images: Freed = field(default_factory=Freed)
    """Configurations and metadata."""
    containers: Freed = field(default_factory=Freed)
    """What Docker keeps of containers beside their layers."""
    kept: int = 0
    """Inodes of which names go, but that live on because others stay."""
    kept_bytes: int = 0
    moving: bool = False
    """Something was removed while it was counted: the figures are of no single moment."""

    @property
    def inodes(self) -> int:
        """All of it."""
        return sum(part.inodes for part in self._parts)

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(part.bytes for part in self._parts)

    @property
    def shared_bytes(self) -> int:
        """All of it."""
        return sum(part.shared_bytes for part in self._parts)

    @property
    def _parts(self) -> Tuple[Freed, ...]:
        return self.trees, self.records, self.images, self.containers


def without(store: Store, containers: Collection[ContainerId]) -> Store:
    """The store as it is once these containers are gone."""
    parts = store.parts
    left = {k: v for k, v in parts.containers.containers.items() if k not in containers}
    mounts = {k: v for k, v in parts.mounts.mounts.items() if k not in containers}
    return replace(
        store,
        parts=replace(
            parts,
            containers=replace(parts.containers, containers=left),
            mounts=replace(parts.mounts, mounts=mounts),
        ),
    )


def going(
    store: Store,
    images: Collection[ImageId],
    containers: Collection[ContainerId],
    trees: Collection[LayerId] = (),
) -> Going:
    """What goes with these: image layers that nothing else needs then, top first."""
    layers = store.parts.layers
    tops = [store.images[image_id].top for image_id in images]
    tops += [store.mounts[key].parent for key in containers if key in store.mounts]
    theirs = {
        record.chain_id
        for top in tops
        if top is not None and top in layers.layers
        for record in layers.chain(top)
    }
    besides: Set[str] = {store.layers[chain_id].cache_id for chain_id in theirs}
    for mount in (store.mounts[key] for key in containers if key in store.mounts):
        besides.update(layer_id for layer_id in (mount.mount_id, mount.init_id) if layer_id)
    gone = theirs - needed_layers(without(store, containers).parts, besides, images)
    ordered = sorted(gone, key=lambda chain_id: (-layers.depth(chain_id), chain_id))
    alone = set(trees) - {layers.layers[chain_id].cache_id for chain_id in gone}
    return Going(tuple(images), tuple(containers), tuple(ordered), tuple(sorted(alone)))


def count(store: Store, what: Going, *, progress: Progress = no_progress) -> Freeing:
    """Count what removing `what` frees.

    Raises:
        OSError: a directory cannot be read.
    """
    layout = store.layout
    freeing = Freeing()
    counter = _Counter(store.layout.data_root)
    trees = [store.layers[chain_id].cache_id for chain_id in what.records]
    for container_id in what.containers:
        mount = store.mounts.get(container_id)
        if mount is not None:
            trees += [layer_id for layer_id in (mount.mount_id, mount.init_id) if layer_id]
        counter.tree(layout.mount(container_id), freeing.containers)
        counter.tree(layout.container(container_id), freeing.containers)
    trees += what.trees
    for number, layer_id in enumerate(trees):
        progress("counting", number, len(trees))
        if layout.driver == OVERLAY2:
            counter.name(_short_name(store, layer_id), freeing.trees)
        counter.tree(layout.layer(layer_id), freeing.trees)
    progress("counting", len(trees), len(trees))
    for chain_id in what.records:
        counter.tree(layout.record(chain_id), freeing.records)
    for image_id in what.images:
        counter.name(layout.image_config(image_id), freeing.images)
        counter.tree(layout.image_metadatum(image_id), freeing.images)
    left = counter.left.values()
    freeing.kept, freeing.kept_bytes = len(left), sum(size for _, size in left)
    freeing.moving = counter.moving
    return freeing


def _short_name(store: Store, layer_id: LayerId) -> Path:
    """The layer's link in ``l/``; a path to nothing if it has none."""
    home = store.layout.home / LINKS
    with contextlib.suppress(OSError), Directory.open(store.layout.layer(layer_id)) as directory:
        with directory.reading(LINK.encode()) as fd:
            name = os.fsdecode(os.read(fd, _LONGEST_LINK).strip())
        if name.isalnum():
            return home / name
    return home / "none"


class _Counter:
    """Meets names that go, one after the other; an inode's last one frees it."""

    def __init__(self, root: Path) -> None:
        self.moving = False
        self._device = os.lstat(root).st_dev
        self._may_share = may_share(root)
        self.left: Dict[int, List[int]] = {}
        """For each inode with names left: how many, and its bytes."""

    def name(self, path: Path, freed: Freed) -> None:
        """The name of anything but a directory; one that is not there is fine."""
        name = os.fsencode(path.name)
        with contextlib.suppress(FileNotFoundError), Directory.open(path.parent) as directory:
            self._meet(directory, Name(name, directory.lstat(name).st_ino, FILE), freed)

    def tree(self, path: Path, freed: Freed) -> None:
        """A directory and all below it, but not what is mounted there."""
        try:
            top = Directory.open(path)
        except FileNotFoundError:
            return
        with top, Trail(top) as trail:
            pending = self._directory(top, 0, freed)
            while pending:
                depth, name = pending.pop()
                try:
                    here = trail.enter(depth, name)
                except (FileNotFoundError, NotADirectoryError):
                    self.moving = True
                else:
                    pending += self._directory(here, depth + 1, freed)

    def _directory(self, here: Directory, depth: int, freed: Freed) -> List[Tuple[int, bytes]]:
        """Count a directory and what is in it; its sub-directories are left to do."""
        freed.directories += 1
        status = here.stat()
        if status.st_dev != self._device:
            # What is mounted hides a directory, which has an inode, too.
            return []
        freed.bytes += status.st_blocks * _BLOCK
        below = []
        for entry in here.names():
            if entry.kind == DIR:
                below.append((depth, entry.name))
            else:
                self._meet(here, entry, freed)
        return below

    def _meet(self, here: Directory, entry: Name, freed: Freed) -> None:
        try:
            found = self.left.get(entry.inode)
            if found is None:
                status = here.lstat(entry.name)
                found = self.left[entry.inode] = [status.st_nlink, status.st_blocks * _BLOCK]
            found[0] -= 1
            if not found[0]:
                del self.left[entry.inode]
                freed.files += 1
                freed.bytes += found[1]
                if self._may_share and found[1] and entry.kind == FILE:
                    with here.reading(entry.name) as fd:
                        freed.shared_bytes += shared_bytes(fd)
        except FileNotFoundError:
            self.moving = True
