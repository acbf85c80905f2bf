"""What comes back to a tree: made beside it, and moved into it when it is whole."""

from __future__ import annotations

import functools
import os
from typing import Iterator, List, Union

from ovl1.closing import Closing
from ovl1.errors import LayerError
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, Directory
from ovl1.linux.trail import Trail
from ovl1.migrate.inplace.items import Gone, Hidden, Item, Leave, Separate, Skip
from ovl1.migrate.inplace.parent import Parent, ParentDirectory
from ovl1.migrate.inplace.places import NO_LINK, dress, link_shared, make_node, move
from ovl1.tree.clone import clone
from ovl1.tree.copy import copy_entry

_MADE = b"made"


class Coming(Closing):
    """Makes what is missing in a tree.

    Args:
        place: an empty directory of ours beside the tree.
        is_complete: whether directories begin as clones of the parent's.
    """

    def __init__(self, place: Directory, parent: Parent, *, is_complete: bool) -> None:
        # Names of devices that come back several times; what else is made has a place of its own.
        self._devices = place
        place.mkdir(_MADE)
        self._made = place.child(_MADE)
        self._parent = parent
        self._is_complete = is_complete

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._made.close()

    def bring(self, item: Union[Separate, Hidden], here: Directory, parts: List[bytes]) -> None:
        """Put an entry into the directory `here`, which is at `parts`; there already is fine."""
        if isinstance(item, Hidden):
            self._make_device(item, here)
        elif not here.exists(item.name):
            self._make(item, self._made, parts)
            move(self._made, item.name, here)

    def bring_whole(
        self, gone: Gone, items: Iterator[Item], here: Directory, parts: List[bytes]
    ) -> None:
        """Put a directory into `here`, with all that the next `items` say about it."""
        if here.exists(gone.name):
            depth = 1
            while depth:
                item = next(items)
                depth += isinstance(item, Gone) - isinstance(item, Leave)
            return
        self._made.mkdir(gone.name)
        with self._made.child(gone.name) as top:
            if self._is_complete:
                clone(self.theirs([*parts, gone.name]).top, top)
            self._follow(gone, items, top, [*parts, gone.name])
        move(self._made, gone.name, here)

    def inherit(self, name: bytes, kind: str, here: Directory, parts: List[bytes]) -> None:
        """Give `here` what the parent has under this name."""
        if kind == DIR:
            self._made.mkdir(name)
            with self._made.child(name) as target:
                clone(self.theirs([*parts, name]).top, target)
            move(self._made, name, here)
            return
        theirs = self.theirs(parts).top
        try:
            here.link_from(theirs, name, name)
        except OSError as err:
            # It was another name of the parent's; if that is forbidden now, a copy must do.
            if err.errno not in NO_LINK:
                raise
            copy_entry(theirs, self._made, name)
            move(self._made, name, here)

    def _follow(
        self, gone: Gone, items: Iterator[Item], top: Directory, parts: List[bytes]
    ) -> None:
        stack = [gone]
        with Trail(top) as trail:
            while stack:
                item = next(items)
                target = trail.at(len(stack) - 1)
                if isinstance(item, Leave):
                    dress(target, stack.pop().metadata)
                elif isinstance(item, Gone):
                    if not self._is_complete:
                        target.mkdir(item.name)
                    trail.enter(len(stack) - 1, item.name)
                    stack.append(item)
                elif isinstance(item, (Separate, Hidden, Skip)):
                    if self._is_complete and target.exists(item.name):
                        target.unlink(item.name)
                    if not isinstance(item, Skip):
                        self._make(item, target, [*parts, *trail.parts])

    def _make(self, item: Union[Separate, Hidden], target: Directory, parts: List[bytes]) -> None:
        """Make in `target` what has its place in the directory at `parts`."""
        if isinstance(item, Hidden):
            self._make_device(item, target)
            return
        name = item.name
        copy_entry(self.theirs(parts).holder(name), target, name)
        for attribute, value in item.private.items():
            xattrs.set_at(target.fd, name, attribute, value)
        if item.inode:
            # Once it has its place it is taken for whole.
            with target.reading(name) as fd:
                os.fsync(fd)

    def _make_device(self, item: Hidden, target: Directory) -> None:
        known = b"%d" % item.inode
        if target.exists(item.name):
            if not self._devices.exists(known):
                self._devices.link_from(target, item.name, known)
            return
        make = functools.partial(make_node, wanted=item.metadata)
        link_shared(self._devices, known, target, item.name, make)

    def theirs(self, parts: List[bytes]) -> ParentDirectory:
        """The parent's directory at `parts`.

        Raises:
            LayerError: it is not there, though it was when the layer was decided.
        """
        found = self._parent.at(parts)
        if found is None:
            path = b"/".join(parts)
            raise LayerError(f"the parent layer has lost its directory {os.fsdecode(path)!r}")
        return found
