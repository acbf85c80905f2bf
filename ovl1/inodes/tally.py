"""What each tree takes, when trees that share inodes were scanned by different processes.

The results are added in the order of the trees, parents before children: so an inode belongs to
the first tree that has it, whoever met it first. Memory grows with the distinct inodes that are
not directories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Set, Tuple

from ovl1.inodes.found import BLOCK, Found


@dataclass(frozen=True)
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
    bytes: int = 0
    """On the disk, of all inodes that are counted here; 0 if nobody asked for it."""

    @property
    def inodes(self) -> int:
        """Inodes in use because of this tree."""
        return self.directories + self.files + self.symlinks + self.specials

    @property
    def names(self) -> int:
        """Names of everything that is no directory."""
        return self.files + self.symlinks + self.specials + self.shared

    @property
    def names_per_inode(self) -> Optional[float]:
        """Hard links of a regular file, on average; None if there is none.

        Symbolic links and specials count as well, which have one each but for what ovl1 made.
        """
        inodes = self.names - self.shared
        return self.names / inodes if inodes else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.directories + other.directories,
            self.files + other.files,
            self.symlinks + other.symlinks,
            self.specials + other.specials,
            self.shared + other.shared,
            self.bytes + other.bytes,
        )


Row = Tuple[int, int, int, int, int, int]
"""The figures of `Counts`, in their order: faster to make, for thousands of paths."""


class Tally:
    """Adds up what scanners found on one file system."""

    def __init__(self) -> None:
        self._seen: Set[int] = set()

    def __contains__(self, inode: int) -> bool:
        """Whether something that is no directory was counted before."""
        return inode in self._seen

    def add(self, found: Found) -> Dict[bytes, Row]:
        """Count what was found next: the figures of each path that has a segment of its own."""
        counted: Dict[bytes, Row] = {}
        for path, row in self._rows(found):
            mine = counted.get(path)
            counted[path] = row if mine is None else added(mine, row)
        return counted

    def _rows(self, found: Found) -> Iterator[Tuple[bytes, Row]]:
        if not found.blocks and self._enter_new(found):
            for path, _, directories, known, files, symlinks, specials, blocks in found.segments:
                yield path, (directories, files, symlinks, specials, known, blocks * BLOCK)
            return
        at = [0, 0, 0]
        arrays = (found.files, found.symlinks, found.specials)
        for path, _, directories, known, files, symlinks, specials, blocks in found.segments:
            fresh: List[int] = []
            size = blocks
            for kind, number in enumerate((files, symlinks, specials)):
                here = arrays[kind][at[kind] : at[kind] + number] if number else ()
                at[kind] += number
                size += self._size(here, found)
                fresh.append(self._enter(here))
            shared = known + files + symlinks + specials - sum(fresh)
            yield path, (directories, fresh[0], fresh[1], fresh[2], shared, size * BLOCK)

    def _enter_new(self, found: Found) -> bool:
        """Enter all inodes if none of them was counted before; else do nothing."""
        new = {*found.files, *found.symlinks, *found.specials}
        size = len(found.files) + len(found.symlinks) + len(found.specials)
        if len(new) < size or not self._seen.isdisjoint(new):
            return False
        self._seen |= new
        return True

    def _enter(self, inodes: Iterable[int]) -> int:
        before = len(self._seen)
        self._seen.update(inodes)
        return len(self._seen) - before

    def _size(self, inodes: Iterable[int], found: Found) -> int:
        if not found.blocks:
            return 0
        seen, blocks = self._seen, found.blocks
        return sum(blocks.get(inode, 0) for inode in inodes if inode not in seen)


def added(one: Row, other: Row) -> Row:
    """The sums."""
    a, b, c, d, e, f = one
    g, h, i, j, k, m = other
    return a + g, b + h, c + i, d + j, e + k, f + m


def total(counted: Dict[bytes, Row]) -> Counts:
    """All of it."""
    return Counts(*map(sum, zip(*counted.values())))
