"""Counting the inodes of a directory tree from its directory entries alone.

`getdents64` gives each name with its type and inode number, so no file is looked at; a directory
is opened, which its walk needs anyway. An inode is counted where it is first seen. What is mounted
below is another file system's and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Collection, List, Set

from ovl1.linux.beneath import DIR, FILE, LINK, Directory


@dataclass
class Counts:
    """Inodes of a tree, by what they are."""

    directories: int = 0
    files: int = 0
    """Regular inodes first seen here."""
    symlinks: int = 0
    specials: int = 0
    """Fifos, sockets and devices, whiteouts among them."""
    shared: int = 0
    """Names of inodes that were seen before: they take none."""

    @property
    def inodes(self) -> int:
        """Inodes in use because of this tree."""
        return self.directories + self.files + self.symlinks + self.specials

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


class Scanner:
    """Counts one tree after the other, and remembers which inodes it has seen.

    Memory grows with the distinct inodes that are not directories.
    """

    def __init__(self) -> None:
        self._seen: Set[int] = set()

    def tree(self, directory: Directory) -> Counts:
        """Count a directory and all below it."""
        counts = Counts(directories=1)
        device = directory.stat().st_dev
        levels: List[Directory] = [directory.descend(())]
        todo: List[List[bytes]] = [self._names(levels[0], counts)]
        try:
            while todo:
                if not todo[-1]:
                    todo.pop()
                    levels.pop().close()
                    continue
                below = levels[-1].child(todo[-1].pop())
                if below.stat().st_dev != device:
                    # A mount point hides the directory that it covers, which has an inode, too.
                    counts.directories += 1
                    below.close()
                    continue
                counts.directories += 1
                levels.append(below)
                todo.append(self._names(below, counts))
        finally:
            for level in levels:
                level.close()
        return counts

    def shallow(self, directory: Directory, *, without: Collection[bytes] = ()) -> Counts:
        """Count a directory with its entries but those in `without`, and what is below these."""
        counts = Counts(directories=1)
        subdirectories = self._names(directory, counts, without)
        for name in subdirectories:
            with directory.child(name) as below:
                counts += self.tree(below)
        return counts

    def _names(
        self, directory: Directory, counts: Counts, without: Collection[bytes] = ()
    ) -> List[bytes]:
        """Count the entries that are no directories; return the names of those that are."""
        subdirectories = []
        seen = self._seen
        for name, inode, kind in directory.names():
            if name in without:
                continue
            if kind == DIR:
                subdirectories.append(name)
            elif inode in seen:
                counts.shared += 1
            else:
                seen.add(inode)
                if kind == FILE:
                    counts.files += 1
                elif kind == LINK:
                    counts.symlinks += 1
                else:
                    counts.specials += 1
        return subdirectories
