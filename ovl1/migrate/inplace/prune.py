"""Doing to a layer's tree what its record says: deleting first, hiding after.

A directory is renamed out of the tree before anything in it is deleted, so that one that is in the
tree is whole, whenever this is killed. Then come the whiteouts, all of which share one inode; then
marks, times, and the tree's new name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Iterator, List, Set, Tuple

from ovl1.layer.build import make_whiteout
from ovl1.linux import durable, xattrs
from ovl1.linux.beneath import DIR, Directory
from ovl1.linux.trail import Trail
from ovl1.migrate.inplace.items import Enter, Gone, Header, Item, Keep, Leave, Whiteout
from ovl1.migrate.inplace.places import (
    GOING,
    link_shared,
    move_as,
    private_xattrs,
    set_times,
    set_xattrs,
    tree_of,
)
from ovl1.migrate.inplace.record import Record
from ovl1.store.layout import DIFF
from ovl1.tree.marks import OPAQUE
from ovl1.tree.remove import remove_tree

_WHITEOUT = b"whiteout"


def prune(place: Path, record: Record, area: Path) -> None:
    """Turn the tree of the layer in `place` into its `diff`; durable, and idempotent.

    Its children must have been converted before.

    Args:
        area: where the records are; the inode of all whiteouts is kept there, too.

    Raises:
        HalfDone: there is a tree and a `diff`, or neither.
        OSError: what a system call refused; to be done again, or undone.
    """
    tree = tree_of(place, record.header)
    if tree.name == DIFF:
        return
    with Directory.open(place) as layer, Directory.open(area) as shared, Directory.open(
        tree
    ) as top:
        remove_tree(layer, GOING)
        for stays in _staying(record.items(), top):
            _delete(layer, stays)
        for stays in _staying(record.items(), top):
            _dress(record.header, shared, stays)
    # The new name tells that all this has been done.
    durable.sync_file_system(place)
    durable.rename(tree, place / DIFF)


class _Stays:
    """A directory that stays, with what is in it in the end."""

    def __init__(self, enter: Enter) -> None:
        self.enter = enter
        self.names: Set[bytes] = set()
        self.whiteouts: List[bytes] = []


def _staying(items: Iterable[Item], top: Directory) -> Iterator[Tuple[Directory, _Stays]]:
    """The directories that stay, each after those in it."""
    stack: List[_Stays] = []
    gone = 0
    with Trail(top) as trail:
        for item in items:
            if isinstance(item, Gone):
                gone += 1
            elif isinstance(item, Leave) and gone:
                gone -= 1
            elif gone:
                continue
            elif isinstance(item, Leave):
                yield trail.at(len(stack) - 1), stack.pop()
            elif isinstance(item, Enter):
                if stack:
                    stack[-1].names.add(item.name)
                    trail.enter(len(stack) - 1, item.name)
                stack.append(_Stays(item))
            elif isinstance(item, (Keep, Whiteout)):
                stack[-1].names.add(item.name)
                if isinstance(item, Whiteout):
                    stack[-1].whiteouts.append(item.name)


def _delete(layer: Directory, found: Tuple[Directory, _Stays]) -> None:
    directory, stays = found
    for name, _, kind in directory.names():
        if name in stays.names:
            continue
        if kind == DIR:
            move_as(directory, name, layer, GOING)
            remove_tree(layer, GOING)
        else:
            directory.unlink(name)


def _dress(header: Header, shared: Directory, found: Tuple[Directory, _Stays]) -> None:
    directory, stays = found
    for name in stays.whiteouts:
        link_shared(shared, _WHITEOUT, directory, name, make_whiteout)
    present = private_xattrs(xattrs.read_fd(directory.fd))
    # In a complete tree they mean nothing, and would in a stack.
    wanted = {} if header.is_complete else dict(present)
    if stays.enter.opaque:
        wanted[OPAQUE] = b"y"
    set_xattrs(directory, wanted, present)
    set_times(directory, stays.enter.times_ns)
