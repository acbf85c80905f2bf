"""Undoing a layer: what went from its tree comes back, from the parent's tree and the record.

What stayed is not touched. Whatever comes back is made beside the tree and then moved into it, so
that what is there is whole: it does not matter how far pruning had come, or an earlier attempt.
In a complete tree files become further names of the parent's inodes, as they were. What was an
inode of its own becomes one again: symbolic links and specials, as Docker clones them, and the
copies of files that a container or BuildKit began with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Set

from ovl1.closing import Closing
from ovl1.driver.views import open_stack
from ovl1.linux import durable, xattrs
from ovl1.linux.beneath import Directory
from ovl1.linux.trail import Trail
from ovl1.migrate.inplace.coming import Coming
from ovl1.migrate.inplace.items import (
    Enter,
    Gone,
    Header,
    Hidden,
    Item,
    Leave,
    Separate,
    Whiteout,
)
from ovl1.migrate.inplace.parent import Parent
from ovl1.migrate.inplace.places import (
    COMING,
    GOING,
    private_xattrs,
    set_times,
    set_xattrs,
    tree_of,
)
from ovl1.migrate.inplace.record import Record
from ovl1.store.layout import DIFF, Layout
from ovl1.tree.marks import is_whiteout
from ovl1.tree.remove import remove_tree


def restore(layout: Layout, record: Record) -> None:
    """Turn the `diff` of a layer, or its half pruned tree, back into its tree.

    Durable and idempotent. The parent must have been undone before, or never converted.

    Args:
        layout: of the home in which the layers' directories are now.

    Raises:
        BrokenStore: the parent's tree is not there.
        HalfDone: there is a tree and a `diff`, or neither.
        OSError: what a system call refused; to be done again.
    """
    header = record.header
    place = layout.layer(header.layer_id)
    tree = place / header.tree
    if tree_of(place, header) != tree:
        # From now on it is a tree that pruning has not finished.
        durable.rename(place / DIFF, tree)
    with Directory.open(place) as layer:
        for leftover in (GOING, COMING):
            remove_tree(layer, leftover)
        if header.below:
            _bring_back(layout, record, layer, tree)
    durable.sync_file_system(place)


def _bring_back(layout: Layout, record: Record, layer: Directory, tree: Path) -> None:
    header = record.header
    paths = [layout.layer(layer_id) / name for layer_id, name in header.below]
    layer.mkdir(COMING)
    with open_stack(header.below[0][0], paths) as view, Directory.open(tree) as top:
        parent = Parent(view, is_tree=header.is_complete)
        with parent, layer.child(COMING) as made:
            coming = Coming(made, parent, is_complete=header.is_complete)
            with coming, _Restorer(header, top, coming) as restorer:
                restorer.run(record.items())
    remove_tree(layer, COMING)


class _Frame:
    """A directory that stayed."""

    def __init__(self, enter: Enter) -> None:
        self.enter = enter
        self.mentioned: Set[bytes] = set()


class _Restorer(Closing):
    def __init__(self, header: Header, tree: Directory, coming: Coming) -> None:
        self._is_complete = header.is_complete
        self._trail = Trail(tree)
        self._coming = coming
        self._frames: List[_Frame] = []

    def close(self) -> None:
        self._trail.close()

    def run(self, items: Iterator[Item]) -> None:
        for item in items:
            if isinstance(item, Leave):
                self._leave()
                continue
            if self._frames:
                self._frames[-1].mentioned.add(item.name)
            if isinstance(item, Enter):
                if self._frames:
                    self._trail.enter(len(self._frames) - 1, item.name)
                self._frames.append(_Frame(item))
            elif isinstance(item, Whiteout):
                self._unhide(item.name)
            elif isinstance(item, (Separate, Hidden)):
                self._coming.bring(item, self._here(), self._trail.parts)
            elif isinstance(item, Gone):
                self._coming.bring_whole(item, items, self._here(), self._trail.parts)

    def _here(self) -> Directory:
        return self._trail.at(len(self._frames) - 1)

    def _unhide(self, name: bytes) -> None:
        here = self._here()
        if here.exists(name) and is_whiteout(here.lstat(name)):
            here.unlink(name)

    def _leave(self) -> None:
        here, frame = self._here(), self._frames[-1]
        if self._is_complete and frame.enter.merges:
            self._inherit(here, frame.mentioned)
        present = private_xattrs(xattrs.read_fd(here.fd))
        set_xattrs(here, frame.enter.private, present)
        set_times(here, frame.enter.times_ns)
        self._frames.pop()

    def _inherit(self, here: Directory, mentioned: Set[bytes]) -> None:
        """All that nothing was said about is as it is in the parent's tree."""
        theirs = self._coming.theirs(self._trail.parts)
        present = mentioned.union(found.name for found in here.names())
        for name, found in theirs.entries().items():
            if name not in present:
                self._coming.inherit(name, found.kind, here, self._trail.parts)
