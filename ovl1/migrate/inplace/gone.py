"""What goes from a layer, compared with the parent's from which it would come back.

In a complete tree (`root`) most of what goes is the parent's own inode under the same name, or a
directory like the parent's: nothing needs to be said about it. All in an `upper` is of its own.
"""

from __future__ import annotations

import os
from typing import Iterator, List, Set

from ovl1.errors import LayerError
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, FILE, SPECIAL, Directory, Name
from ovl1.linux.trail import Trail
from ovl1.linux.xattrs import Xattrs
from ovl1.migrate.inplace.items import Gone, Hidden, Item, Leave, Metadata, Separate, Skip
from ovl1.migrate.inplace.parent import Entries, Parent, ParentDirectory
from ovl1.migrate.inplace.places import metadata_of, private_xattrs, refuse_frozen
from ovl1.tree.compare import directory_differences, entry_differences
from ovl1.tree.marks import METACOPY, REDIRECT, is_whiteout

ELSEWHERE = "the layer shows something of a lower layer that its parent does not show"

_UNRESOLVED = (METACOPY, REDIRECT)


def refuse_unresolved(attributes: Xattrs, name: bytes) -> None:
    """Raise `LayerError` for what only a kernel with ``redirect_dir`` or ``metacopy`` can show."""
    for attribute in _UNRESOLVED:
        if attribute in attributes:
            raise LayerError(
                f"{os.fsdecode(name)!r} has {attribute}: its content is in a lower layer",
                resolution="Migrate side by side, or with --to; or remove the container.",
            )


class _Level:
    """A directory that goes, and what is still to be looked at in it."""

    def __init__(self, gone: Gone, mine: List[Name], theirs: Entries) -> None:
        self.gone, self.theirs = gone, theirs
        self.todo = iter(mine)
        self.missing = sorted(theirs.keys() - {found.name for found in mine})
        self.is_told = False


class Going:
    """Tells about all that goes from the directory where a trail is.

    Args:
        trail: of the layer's tree; moved below where it is, and has to be moved back.
    """

    def __init__(self, trail: Trail, parent: Parent, *, is_complete: bool) -> None:
        self._trail, self._parent = trail, parent
        self._is_complete = is_complete
        self._levels: List[_Level] = []

    def out_of(self, mentioned: Set[bytes], *, merges: bool) -> Iterator[Item]:
        """What there is to say about all but `mentioned` in this directory.

        Raises:
            LayerError: something would go that the parent has not; that must not happen.
        """
        top = len(self._trail.parts)
        theirs: Entries = {}
        if merges:
            theirs = self._theirs().entries()
        mine = [found for found in self._listed() if found.name not in mentioned]
        for found in mine:
            if found.kind != DIR:
                yield from self._other(top, found, theirs)
                continue
            yield from self._down(top, found, theirs)
            while self._levels:
                yield from self._further(top)
        if self._is_complete:
            self._trail.at(top)
            present = mentioned | {found.name for found in mine}
            yield from self._skips(name for name in sorted(theirs) if name not in present)

    def _listed(self) -> List[Name]:
        return sorted(self._trail.at(len(self._trail.parts)).names())

    def _theirs(self) -> ParentDirectory:
        found = self._parent.at(self._trail.parts)
        if found is None:
            raise self._lost(b"")
        return found

    def _further(self, top: int) -> Iterator[Item]:
        level = self._levels[-1]
        depth = top + len(self._levels)
        found = next(level.todo, None)
        if found is None:
            self._trail.at(depth)
            if self._is_complete:
                yield from self._skips(iter(level.missing))
            if level.is_told:
                yield Leave()
            self._levels.pop()
            return
        if found.kind == DIR:
            yield from self._down(depth, found, level.theirs)
        else:
            yield from self._other(depth, found, level.theirs)

    def _down(self, depth: int, found: Name, theirs: Entries) -> Iterator[Item]:
        """Go into a directory that goes."""
        here = self._trail.enter(depth, found.name)
        refuse_frozen(here, found.name)
        status, attributes = here.stat(), xattrs.read_fd(here.fd)
        if found.name not in theirs:
            raise self._lost(b"")
        like = self._theirs()
        if not self._is_complete:
            refuse_unresolved(attributes, found.name)
        gone = Gone(found.name, metadata_of(status, attributes))
        self._levels.append(_Level(gone, self._listed(), like.entries()))
        differs = private_xattrs(attributes) or directory_differences(here, like.top)
        if differs or not self._is_complete:
            yield from self._told()

    def _other(self, depth: int, found: Name, theirs: Entries) -> Iterator[Item]:
        """Something else than a directory that goes."""
        before = theirs.get(found.name)
        if self._is_complete and before is not None and before.inode == found.inode:
            return
        here = self._trail.at(depth)
        yield from self._told()
        attributes = xattrs.read_at(here.fd, found.name)
        if before is not None and not self._differs(here, found.name):
            if not self._is_complete:
                refuse_unresolved(attributes, found.name)
            has_bytes = found.kind == FILE and here.lstat(found.name).st_size > 0
            inode = found.inode if has_bytes else 0
            yield Separate(found.name, inode, private_xattrs(attributes))
        elif found.kind == SPECIAL and is_whiteout(here.lstat(found.name)):
            yield Hidden(found.name, found.inode, self._node(here, found.name, attributes))
        else:
            raise self._lost(found.name)

    def _differs(self, here: Directory, name: bytes) -> bool:
        return bool(entry_differences(here, self._theirs().holder(name), name))

    @staticmethod
    def _node(here: Directory, name: bytes, attributes: Xattrs) -> Metadata:
        return metadata_of(here.lstat(name), attributes)

    def _skips(self, missing: Iterator[bytes]) -> Iterator[Item]:
        """Names that a clone of the parent's tree would have, and this tree has not."""
        for name in missing:
            if not is_whiteout(self._theirs().top.lstat(name)):
                raise self._lost(name)
            yield from self._told()
            yield Skip(name)

    def _told(self) -> Iterator[Item]:
        """The directories on the way here, as far as they have not been mentioned yet."""
        for level in self._levels:
            if not level.is_told:
                level.is_told = True
                yield level.gone

    def _lost(self, name: bytes) -> LayerError:
        path = b"/".join((*self._trail.parts, name))
        return LayerError(
            f"{os.fsdecode(path)!r} would be lost: the parent layer does not have it",
            resolution="This is a fault of ovl1, please report it; migrate side by side.",
        )
