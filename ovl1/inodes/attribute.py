"""Whose inodes they are: every inode of a data-root, attributed once.

Layers are counted parents first, so an inode that layers share belongs to the lowest that has it.
Everything else in the data-root is counted by its top-level directory, so that the total is the
file system's own figure when nothing else lies on it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from ovl1.driver.convert import CONTAINER, IMAGE, INIT, SNAPSHOT, conversions
from ovl1.driver.cost import Cost, cost_of
from ovl1.errors import OvlError
from ovl1.inodes.report import FileSystem, LayerUse, Report, Share
from ovl1.inodes.scan import Counts, Scanner
from ovl1.linux import mounts
from ovl1.linux.beneath import DIR, Directory
from ovl1.model import ChainId, Progress, no_progress
from ovl1.store.layout import DIFF, OVERLAY, ROOT, UPPER
from ovl1.store.store import Store

UNUSED = "unused"
"""A directory of the driver's home that nothing refers to."""

_TREES = tuple(name.encode() for name in (ROOT, UPPER, DIFF))
_OWN = {"ext2": 11, "ext3": 11, "ext4": 11, "xfs": 3}
"""Inodes of an empty file system: ten reserved and ``lost+found`` (mke2fs); the root, bitmap and
summary of the realtime section (mkfs.xfs)."""


def report(
    store: Store, *, keep_directory_times: bool = True, progress: Progress = no_progress
) -> Report:
    """Count every inode of the store's data-root.

    Args:
        keep_directory_times: as the migration that is predicted would be told to.

    Raises:
        OSError: a directory cannot be read.
    """
    scanner = Scanner()
    root = store.layout.data_root
    layers, home = _layers(store, scanner, progress)
    others = _others(root, store.layout.driver, scanner)
    cost, reason = _as_overlay2(store, keep_directory_times=keep_directory_times, progress=progress)
    uses = {use.name: use for use in layers}
    return Report(
        data_root=root,
        driver=store.layout.driver,
        layers=tuple(layers),
        images=tuple(_images(store, uses)),
        containers=tuple(_containers(store, uses)),
        home=home,
        others=tuple(others),
        file_system=_file_system(root),
        overlay2=cost,
        no_overlay2=reason,
    )


def _owners(store: Store) -> Iterator[Tuple[str, str, str]]:
    """Each layer's name, kind and owner, parents before children."""
    depth = store.parts.layers.depth
    for chain_id in sorted(store.layers, key=lambda chain_id: (depth(chain_id), chain_id)):
        yield store.layers[chain_id].cache_id, IMAGE, chain_id
    for container_id, mount in sorted(store.mounts.items()):
        if mount.init_id is not None:
            yield mount.init_id, INIT, container_id
        yield mount.mount_id, CONTAINER, container_id
    for tree in store.orphans():
        yield tree.name, SNAPSHOT if tree.is_buildkit else UNUSED, ""


def _layers(store: Store, scanner: Scanner, progress: Progress) -> Tuple[List[LayerUse], int]:
    owners = {name: (kind, of) for name, kind, of in _owners(store)}
    found: List[LayerUse] = []
    with Directory.open(store.layout.home) as home:
        present = {entry.name for entry in home.names() if entry.kind == DIR}
        order = [name for name in owners if os.fsencode(name) in present]
        order += sorted(name for name in store.trees if name not in owners)
        for number, name in enumerate(order):
            progress("counting", number, len(order))
            if os.fsencode(name) not in present:
                continue
            with home.child(os.fsencode(name)) as directory:
                tree, overhead = _layer(directory, scanner)
            kind, of = owners.get(name, (UNUSED, ""))
            found.append(LayerUse(name, kind, of, tree, overhead))
        rest = scanner.shallow(home, without={os.fsencode(use.name) for use in found})
    progress("counting", len(order), len(order))
    return found, rest.inodes


def _layer(directory: Directory, scanner: Scanner) -> Tuple[Counts, int]:
    """The layer's tree, and how many inodes the driver has around it."""
    tree = Counts()
    for entry in directory.names():
        if entry.kind == DIR and entry.name in _TREES:
            with directory.child(entry.name) as below:
                tree += scanner.tree(below)
    return tree, scanner.shallow(directory, without=_TREES).inodes


def _others(root: Path, driver: str, scanner: Scanner) -> Iterator[Tuple[str, Counts]]:
    with Directory.open(root) as directory:
        names = sorted(entry.name for entry in directory.names() if entry.kind == DIR)
        device = directory.stat().st_dev
        for name in names:
            if name == driver.encode():
                continue
            with directory.child(name) as below:
                if below.stat().st_dev == device:
                    yield os.fsdecode(name), scanner.tree(below)
        yield ".", scanner.shallow(directory, without=names)


def _images(store: Store, uses: Dict[str, LayerUse]) -> Iterator[Share]:
    users: Dict[ChainId, int] = {}
    chains = {image_id: _chain(store, image.top) for image_id, image in store.images.items()}
    standing = [_chain(store, mount.parent) for mount in store.mounts.values()]
    for chain in (*chains.values(), *standing):
        for chain_id in chain:
            users[chain_id] = users.get(chain_id, 0) + 1
    for image_id, chain in sorted(chains.items()):
        names = {chain_id: store.layers[chain_id].cache_id for chain_id in chain}
        own = [name for chain_id, name in names.items() if users[chain_id] == 1]
        yield _share(image_id, store.references.tags_of(image_id), names.values(), own, uses)


def _chain(store: Store, top: Optional[ChainId]) -> List[ChainId]:
    """The layers from `top` down; none if it is not there."""
    if top not in store.layers:
        return []
    return [record.chain_id for record in store.parts.layers.chain(top)]


def _containers(store: Store, uses: Dict[str, LayerUse]) -> Iterator[Share]:
    for container_id, mount in sorted(store.mounts.items()):
        names = [layer_id for layer_id in (mount.init_id, mount.mount_id) if layer_id]
        container = store.containers.get(container_id)
        title = [container.name] if container is not None else []
        yield _share(container_id, title, names, names, uses)


def _share(
    of: str,
    names: Iterable[str],
    layers: Iterable[str],
    own: Iterable[str],
    uses: Dict[str, LayerUse],
) -> Share:
    """What the layers take together."""
    used = [uses[name] for name in layers if name in uses]
    return Share(
        id=of,
        names=tuple(names),
        layers=len(used),
        tree=sum((use.tree for use in used), Counts()),
        overhead=sum(use.overhead for use in used),
        own=sum(uses[name].inodes for name in own if name in uses),
    )


def _as_overlay2(
    store: Store, *, keep_directory_times: bool, progress: Progress
) -> Tuple[Optional[Cost], str]:
    if store.layout.driver != OVERLAY:
        return None, ""
    keep = keep_directory_times
    try:
        cost = cost_of(store, conversions(store), keep_directory_times=keep, progress=progress)
    except OvlError as error:
        return None, error.brief
    return cost, ""


def _file_system(root: Path) -> FileSystem:
    status = os.statvfs(root)
    point = max(
        (p for p in mounts.mount_points() if _covers(p.path, os.fsencode(root))),
        key=lambda p: len(p.path),
    )
    own = _OWN.get(point.fstype, 0)
    if point.path == os.fsencode(root):
        # The walk of the data-root meets these, so they must not be counted twice.
        own -= 2 if point.fstype.startswith("ext") and (root / "lost+found").is_dir() else 1
    return FileSystem(
        kind=point.fstype,
        files=status.f_files,
        used=status.f_files - status.f_ffree,
        own=max(own, 0),
    )


def _covers(mount_point: bytes, path: bytes) -> bool:
    return path == mount_point or path.startswith(mount_point.rstrip(b"/") + b"/")
