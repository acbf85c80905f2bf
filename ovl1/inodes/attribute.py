"""Whose inodes they are: every inode of a data-root, attributed once.

Layers are counted parents first, so an inode that layers share belongs to the lowest that has it.
Everything else in the data-root is counted by its top-level directory, so that the total is the
file system's own figure when nothing else lies on it.

A store may be at work meanwhile. Each directory is looked at once, and whether it was changed since
the beginning; if none was, the report is what was there at the beginning, and else it says so.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Dict, Iterator, List, Optional, Tuple

from ovl1.errors import OvlError
from ovl1.inodes.filesystems import file_system
from ovl1.inodes.heavy import Paths
from ovl1.inodes.links import LIMITS, Linked, nearest
from ovl1.inodes.report import FileSystem, LayerUse, Report
from ovl1.inodes.shares import container_shares, image_shares, kind_shares
from ovl1.inodes.sweep import Place, Seen, Sweep
from ovl1.inodes.tally import Counts, Tally, total
from ovl1.linux.beneath import DIR, Directory
from ovl1.model import ChainId, ContainerId, Progress, no_progress
from ovl1.store.layout import DIFF, LINKS, OVERLAY, ROOT, UPPER
from ovl1.store.store import Store
from ovl1.store.trees import LEFTOVER

if TYPE_CHECKING:
    from ovl1.driver.cost import Cost

# As `ovl1.driver.convert` says, whose import takes longer than counting a small store does.
IMAGE, INIT, CONTAINER, SNAPSHOT = "image", "init", "container", "buildkit"

UNUSED = "unused"
"""A directory of the driver's home that nothing refers to."""

_TREES = frozenset(name.encode() for name in (ROOT, UPPER, DIFF))
_MOST_LINKED = 5
_NO_LAYERS = frozenset({LINKS, "lost+found"})


def report(
    store: Store,
    *,
    top: int = 10,
    depth: int = 3,
    with_bytes: bool = False,
    overlay2: bool = True,
    keep_directory_times: bool = True,
    workers: Optional[int] = None,
    progress: Progress = no_progress,
) -> Report:
    """Count every inode of the store's data-root.

    Args:
        top: how many of the heaviest directory trees to tell.
        depth: how many directories such a path may have.
        with_bytes: whether to look at every inode for its size on the disk.
        overlay2: whether to find out what the same store takes as overlay2, which takes far
            longer than counting.
        keep_directory_times: as the migration that is predicted would be told to.
        workers: how many processes; by default one for each processor this process may use.

    Raises:
        OSError: a directory cannot be read, though it is there and permissions allow it.
    """
    root = store.layout.data_root
    with Directory.open(root) as directory:
        sweep = Sweep(directory, depth=depth if top else 0, blocks=with_bytes)
        count = _Count(store, directory)
        places = count.places
        for number, seen in enumerate(sweep.run(places, workers)):
            count.add(seen)
            progress("counting", number + 1, len(places))
    made = _made(store, count, top=top, with_bytes=with_bytes)
    if overlay2 and store.layout.driver == OVERLAY:
        keep = keep_directory_times
        cost, reason = _as_overlay2(store, keep_directory_times=keep, progress=progress)
        return replace(made, overlay2=cost, no_overlay2=reason)
    return made


def _made(store: Store, count: _Count, *, top: int, with_bytes: bool) -> Report:
    return Report(
        data_root=store.layout.data_root,
        driver=store.layout.driver,
        layers=tuple(count.layers.values()),
        images=tuple(image_shares(store, count.layers)),
        containers=tuple(container_shares(store, count.layers)),
        kinds=tuple(kind_shares(count.layers)),
        home=count.home.inodes,
        home_bytes=count.home.bytes,
        others=tuple(count.others.items()),
        file_systems=tuple(count.file_systems()),
        paths=tuple(count.paths.heaviest(top)),
        linked=tuple(count.most_linked()),
        overlay2=None,
        unreadable=tuple(sorted(count.unreadable)),
        moving=count.moving,
        with_bytes=with_bytes,
    )


class _Count:
    """Puts together what the sweep of a store brings."""

    def __init__(self, store: Store, root: Directory) -> None:
        self.layers: Dict[str, LayerUse] = {}
        self.home = Counts()
        self.others: Dict[str, Counts] = {}
        self.paths = Paths()
        self.unreadable: List[str] = []
        self._layout = store.layout
        self._home = os.fsencode(store.layout.driver)
        self._linked: List[Linked] = []
        self._tallies: Dict[int, Tally] = {}
        with root.child(self._home) as home:
            apart = home.stat().st_dev != root.stat().st_dev
            present = {os.fsdecode(entry.name): entry.kind for entry in home.names()}
        self._systems = [file_system(self._layout.data_root)]
        if apart:
            self._systems.append(file_system(self._layout.home))
        # What came or went since the store was read is attributed to nobody.
        self.moving = not _NO_LAYERS.issuperset(present.keys() ^ store.trees.keys())
        owners = _owners(store).items()
        self._owners = {name: owner for name, owner in owners if present.get(name) == DIR}
        self.places = [*self._layer_places(store), *self._other_places(root)]

    def _layer_places(self, store: Store) -> Iterator[Place]:
        names = [os.fsencode(name) for name in self._owners]
        for name in names:
            kin = _base(store, *self._owners[os.fsdecode(name)]) or name
            yield Place((self._home, name), trees=_TREES, anywhere=True, kin=kin)
        yield Place((self._home,), without=frozenset(names), anywhere=True)

    def _other_places(self, root: Directory) -> Iterator[Place]:
        names = sorted(entry.name for entry in root.names() if entry.kind == DIR)
        for name in names:
            if name != self._home:
                yield Place((name,))
        yield Place((), without=frozenset(names))

    def add(self, seen: Seen) -> None:
        """Attribute what was found at one place, in the order of `places`."""
        tally = self._tallies.setdefault(seen.device, Tally())
        # Who met an inode in a later tree only cannot know that it is not new.
        linked = [each for each in seen.linked if each.inode not in tally]
        around = total(tally.add(seen.around))
        counted = [tally.add(tree) for tree in seen.trees]
        for found in (seen.around, *seen.trees):
            self.unreadable += map(os.fsdecode, found.unreadable)
            self.moving |= found.moving
        if seen.place.parts[:1] != (self._home,):
            name = os.fsdecode(seen.place.parts[0]) if seen.place.parts else "."
            self.others[name] = around
        elif len(seen.place.parts) == 1:
            self.home = around
        else:
            name = os.fsdecode(seen.place.parts[1])
            tree = sum(map(total, counted), Counts())
            self.layers[name] = LayerUse(
                name, *self._owners[name], tree, around.inodes, around.bytes
            )
            for each in counted:
                self.paths.add(each)
            self._linked += linked

    def file_systems(self) -> Iterator[FileSystem]:
        """Those that the data-root lies on."""
        layers = self.home.inodes + sum(use.inodes for use in self.layers.values())
        others = sum(counts.inodes for counts in self.others.values())
        if len(self._systems) == 1:
            yield replace(self._systems[0], docker=layers + others)
            return
        # The mount point of the home hides a directory.
        yield replace(self._systems[0], docker=others + 1)
        yield replace(self._systems[1], docker=layers)

    def most_linked(self) -> List[Linked]:
        """The inodes that are nearest to the limit of their file system."""
        limit = LIMITS.get(self._systems[-1].kind)
        return nearest(self._linked, limit, _MOST_LINKED)


def _owners(store: Store) -> Dict[str, Tuple[str, str]]:
    """Each layer's kind and owner by its name, parents before children."""
    depth = store.parts.layers.depth
    owners: Dict[str, Tuple[str, str]] = {}
    for chain_id in sorted(store.layers, key=lambda chain_id: (depth(chain_id), chain_id)):
        owners[store.layers[chain_id].cache_id] = IMAGE, chain_id
    for container_id, mount in sorted(store.mounts.items()):
        if mount.init_id is not None:
            owners[mount.init_id] = INIT, container_id
        owners[mount.mount_id] = CONTAINER, container_id
    for tree in store.orphans():
        if tree.is_buildkit:
            owners[tree.name] = SNAPSHOT, ""
    for name, tree in sorted(store.trees.items()):
        owners.setdefault(name, (LEFTOVER if tree.kind == LEFTOVER else UNUSED, ""))
    return owners


def _base(store: Store, kind: str, owner: str) -> bytes:
    """The lowest of the layers that a layer stands on, or itself; empty if it stands on nothing."""
    base, at = "", None
    if kind == IMAGE:
        at = ChainId(owner)
    elif kind in (INIT, CONTAINER):
        at = store.mounts[ContainerId(owner)].parent
    while at is not None and at in store.layers:
        base, at = at, store.layers[at].parent
    return base.encode()


def _as_overlay2(
    store: Store, *, keep_directory_times: bool, progress: Progress
) -> Tuple[Optional[Cost], str]:
    from ovl1.driver.convert import conversions
    from ovl1.driver.cost import cost_of

    keep = keep_directory_times
    try:
        cost = cost_of(store, conversions(store), keep_directory_times=keep, progress=progress)
    except OvlError as error:
        return None, error.brief
    return cost, ""
