"""The way of one scan, segment by segment: what is new in each, and what was met before."""

from __future__ import annotations

import collections
import os
from typing import Any, List, Set, Tuple

from ovl1.inodes.found import Found, Segment, missed
from ovl1.inodes.way import Way
from ovl1.linux import dirents

_AT_ONCE = 10_000


class Walk:
    """The segment that is being counted."""

    def __init__(self, found: Found, way: Way[Any], device: int, seen: Set[int]) -> None:
        self.found = found
        self.device = device
        self.name = b""
        """Of the directory that is being looked at, in the one where the way is."""
        self.place = 0
        """Grows from one directory to the next that another process may count."""
        self.directories = self.known = self.blocks = 0
        self._way = way
        self._path, self._order = b"", 0
        self._seen = seen
        self.symlinks: List[int] = []
        self._specials: List[int] = []
        """Met in this segment, and not yet looked up: many at once are faster."""
        self._ends = self._lengths()
        self._new: Set[int] = set()
        """The files up to `_counted`; they are looked up only if one comes again."""
        self._counted = len(found.files)

    def _lengths(self) -> Tuple[int, int, int]:
        found = self.found
        return len(found.files), len(found.symlinks), len(found.specials)

    def _parts(self) -> Tuple[bytes, ...]:
        return (*self._way.parts, self.name) if self.name else ()

    def begin(self) -> None:
        """End one segment, and begin another here."""
        self.end()
        self._path, self._order = b"/".join(self._parts()), self.place

    def go_on(self) -> None:
        """Go on with the segment where others may have counted a part of it."""
        self.end()
        self._order = self.place

    def end(self) -> None:
        """End the segment; there is none if it has nothing."""
        if self.symlinks or self._specials:
            self._enter_others()
        files, symlinks, specials = ends = self._lengths()
        if self.directories or self.known or ends != self._ends:
            files_before, symlinks_before, specials_before = self._ends
            self.found.segments.append(
                Segment(
                    self._path,
                    self._order,
                    self.directories,
                    self.known,
                    files - files_before,
                    symlinks - symlinks_before,
                    specials - specials_before,
                    self.blocks,
                )
            )
            self._ends = ends
            self.directories = self.known = self.blocks = 0

    def enter(self, parsed: dirents.Listing) -> None:
        """Count the inodes of a directory's entries."""
        if parsed.symlinks:
            self.symlinks += parsed.symlinks
        if parsed.specials:
            self._specials += parsed.specials
        if len(self.symlinks) + len(self._specials) > _AT_ONCE:
            self._enter_others()
        if parsed.files:
            self._enter_files(parsed.files)

    def _enter_others(self) -> None:
        seen = self._seen
        for met, arrived in (
            (self.symlinks, self.found.symlinks),
            (self._specials, self.found.specials),
        ):
            if met:
                new = set(met).difference(seen)
                seen |= new
                arrived.extend(new)
                self.known += len(met) - len(new)
                met.clear()

    def _enter_files(self, met: List[int]) -> None:
        seen, files = self._seen, self.found.files
        before = len(seen)
        if seen.isdisjoint(met):
            self._begin_at(len(files))
            seen.update(met)
            if len(seen) - before == len(met):
                files.fromlist(met)
                return
            new = list(dict.fromkeys(met))
            files.fromlist(new)
        else:
            new = list(dict.fromkeys(inode for inode in met if inode not in seen))
            if new:
                self._begin_at(len(files))
                seen.update(new)
                files.fromlist(new)
        self.known += len(met) - len(new)
        if len(new) < len(met):
            self._count_again(met, new)

    def _begin_at(self, start: int) -> None:
        self.found.origins.starts.append(start)
        self.found.origins.paths.append(b"/".join(self._parts()))

    def _count_again(self, met: List[int], new: List[int]) -> None:
        """Count the names of the files that this tree brought, if any of them is met again."""
        files, again = self.found.files, self.found.again
        self._new.update(files[self._counted :])
        self._counted = len(files)
        more = collections.Counter(met)
        more.subtract(new)
        for inode in self._new.intersection(more):
            if more[inode]:
                again[inode] = again.get(inode, 0) + more[inode]

    def look(self, fd: int, listing: bytes) -> None:
        """Add the blocks of what is new in a directory."""
        for inode, name in dirents.names(listing):
            if inode not in self._seen:
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    self.found.blocks[inode] = status.st_blocks
                except FileNotFoundError:
                    self.found.moving = True

    def failed(self, error: OSError) -> None:
        """A directory could not be read; raises the error if there is no good reason for it."""
        found = missed(error, b"/".join(self._parts()))
        self.directories += len(found.unreadable)
        self.found.unreadable += found.unreadable
        self.found.moving |= found.moving


class Passing(Walk):
    """Goes through what others count, as something of one's own may lie below.

    Only what is noticed of changes is kept.
    """

    def __init__(self, way: Way[Any], device: int) -> None:
        super().__init__(Found(), way, device, set())

    def enter(self, parsed: dirents.Listing) -> None:
        """Others do."""

    def look(self, fd: int, listing: bytes) -> None:
        """Others do."""
