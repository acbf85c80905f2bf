"""Counting the inodes of directory trees from their directory entries alone.

`getdents64` gives each name with its type and inode number, so no file is looked at; a directory
is opened, which its walk needs anyway. What is mounted below is another file system's and is left
out. Directories that list exactly what another one listed before hold nothing new, and are not
parsed. Memory grows with the distinct inodes that are not directories; what is remembered to save
time is bounded. A tree may change meanwhile: that is noticed and said, and stops nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
import zlib
from typing import Collection, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from ovl1.inodes.found import Found
from ovl1.inodes.walk import Passing, Walk
from ovl1.inodes.way import OPEN, Way
from ovl1.linux import dirents
from ovl1.linux.beneath import Directory
from ovl1.linux.claims import Claims

_REMEMBERED = 128 << 20
"""Bytes of what only saves time."""

SHARED = 3
"""How many names the longest paths have that are shared out among processes: enough for hundreds
of paths, and so few that little is read by every one of the processes."""

_OVERHEAD = 1000
"""Bytes for each directory that is remembered, beside its listing."""

_CLOCK_REALTIME_COARSE = 5
"""linux/time.h: what the kernel stamps inodes with; it stands still between two ticks."""


def present() -> int:
    """A time, in nanoseconds since 1970, that parts what has been changed from what will be.

    Waits for some milliseconds: inodes that change from then on get this time or a later one, as
    far as their file system keeps it (ext4 with inodes of 128 bytes: to the second).
    """
    before = time.time_ns()
    while True:
        # The kernel stamps inodes with the one clock or the other (multigrain timestamps, 6.13).
        now = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
        if now > before:
            return now
        time.sleep(0.0005)


class Memory:
    """What the last tree had at some path, and below."""

    __slots__ = ("_below", "known")

    def __init__(self) -> None:
        self.known: Optional[dirents.Known] = None
        self._below: Dict[bytes, Memory] = {}

    def below(self, name: bytes) -> Memory:
        """What it had at a sub-directory."""
        found = self._below.get(name)
        if found is None:
            found = self._below[name] = Memory()
        return found


class Share:
    """The part of some trees that this process counts, when several go through the same ones.

    Each directory belongs to one process, and so does all below those that `SHARED` names lead to.
    """

    def __init__(self, claims: Claims, kin: bytes) -> None:
        """Args:
        kin: trees with the same word are shared in the same way.
        """
        self._claims = claims
        self._kin = zlib.crc32(kin)

    def above(self, parts: Sequence[bytes]) -> int:
        """Stands for the path of a directory, for `mine`."""
        return zlib.crc32(b"/".join((*parts, b"")), self._kin)

    def mine(self, name: bytes, above: int) -> bool:
        """Whether this process counts the directory with a name in the one above."""
        return self._claims.mine(zlib.crc32(name, above))

    @property
    def has_top(self) -> bool:
        """Whether this process counts the top of a tree."""
        return self._claims.mine(self._kin)


Left = Tuple[int, bytes, Optional[Memory]]
"""A sub-directory that is still to be visited: its inode, its name, and what is known of it."""


class Scanner:
    """Scans one tree after the other, and remembers which inodes it has seen."""

    def __init__(self, *, blocks: bool = False, since: Optional[int] = None) -> None:
        """Args:
        blocks: whether to look at each new inode for how many blocks it has.
        since: what has changed from then on is noticed, as `present` gave it; by default now.
        """
        self._seen: Set[int] = set()
        self._blocks = blocks
        self._since = present() if since is None else since
        self._lister = dirents.Lister()
        self._gives_all = False
        self._memory: Dict[bytes, Memory] = {}
        self._held = 0

    def scan(
        self,
        top: Directory,
        found: Found,
        *,
        without: Collection[bytes] = (),
        depth: int = 0,
        like: bytes = b"",
        share: Optional[Share] = None,
    ) -> None:
        """Add what is in a directory tree, or this process's share of it.

        Args:
            without: names of sub-directories of the top that are left out.
            depth: how many levels of directories get a segment of their own.
            like: trees with the same word are expected to be alike.
            share: what of it is counted; by default all.

        Raises:
            OSError: but for what is missing, may not be read, or is damaged.
        """
        memory = self._remembered(like)
        device = os.fstat(top.fd).st_dev
        self._gives_all = dirents.gives_all(device)
        made: Way[Left] = Way(top)
        with made as way, _uncollected():
            walk = Walk(found, way, device, self._seen)
            other = Passing(way, device)
            is_mine = share is None or share.has_top
            subdirectories = self._visit(way.fd, walk if is_mine else other, memory)
            found.skipped += [name for _, name, _ in subdirectories if name in without]
            way.left.append([entry for entry in subdirectories if entry[1] not in without])
            while way.left:
                if way.left[-1]:
                    self._go_on(way, walk, other, depth, share)
                else:
                    found.moving |= not way.up()
            walk.end()
            found.moving |= other.found.moving

    def _go_on(
        self, way: Way[Left], walk: Walk, other: Passing, depth: int, share: Optional[Share]
    ) -> None:
        """Visit the sub-directories that are left here, until one must be entered for its own."""
        left, here, level = way.left[-1], way.fd, len(way.parts)
        segmented = level < depth
        above = share.above(way.parts) if share and level < SHARED else None
        while left:
            _, name, memory = left.pop()
            walk.name, counting = name, walk
            if above is not None:
                assert share is not None
                walk.place += 1
                if not share.mine(name, above):
                    if level + 1 == SHARED:
                        continue
                    other.name, counting = name, other
            if segmented:
                walk.begin()
            elif above is not None:
                walk.go_on()
            fd = -1
            try:
                fd = os.open(name, OPEN, dir_fd=here)
                subdirectories = self._visit(fd, counting, memory)
                if subdirectories:
                    way.down(fd, name, subdirectories)
                    fd = -1
                    return
            except OSError as error:
                counting.failed(error)
            finally:
                if fd >= 0:
                    os.close(fd)

    def _remembered(self, like: bytes) -> Optional[Memory]:
        if self._held > _REMEMBERED:
            self._memory.clear()
            self._held = 0
        return self._memory.setdefault(like, Memory()) if like else None

    def _visit(self, fd: int, walk: Walk, memory: Optional[Memory]) -> List[Left]:
        """Count a directory with its entries; return its sub-directories, the first one last."""
        listing = self._lister.begin(fd)
        known = memory.known if memory else None
        is_like = known is not None and known.is_like(listing)
        if not (is_like and self._gives_all):
            listing = self._lister.finish(fd, listing)
            is_like = known is not None and known.is_like(listing)
        # Only after reading: so nothing is changed between the two without being noticed.
        status = os.fstat(fd)
        walk.directories += 1
        if status.st_dev != walk.device:
            # A mount point hides the directory that it covers, which has an inode, too.
            return []
        if status.st_ctime_ns >= self._since and status.st_ctime_ns <= time.time_ns():
            walk.found.moving = True
        if self._blocks:
            walk.blocks += status.st_blocks
        if known and is_like:
            walk.known += known.files
            if known.is_plain:
                return []
            if known.has_symlinks_only and not self._blocks:
                walk.symlinks += known.symlinks(listing)
                return []
            parsed = known.own(listing)
        else:
            listing, parsed = self._parsed(fd, listing)
            if memory:
                self._remember(memory, dirents.Known(listing, parsed))
        if self._blocks:
            walk.look(fd, listing)
        walk.enter(parsed)
        return _to_visit(parsed, memory)

    def _remember(self, memory: Memory, known: dirents.Known) -> None:
        if memory.known:
            self._held -= _OVERHEAD + memory.known.size
            memory.known = None
        if self._held <= _REMEMBERED:
            self._held += _OVERHEAD + known.size
            memory.known = known

    def _parsed(self, fd: int, listing: bytes) -> Tuple[bytes, dirents.Listing]:
        parsed = dirents.parse(listing)
        if parsed is None:
            listing = dirents.listed(fd)
            parsed = dirents.parse(listing)
            assert parsed is not None
        return listing, parsed


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which would look for cycles in all that is remembered."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _to_visit(parsed: dirents.Listing, memory: Optional[Memory]) -> List[Left]:
    # Inodes lie on a disk by number.
    directories = sorted(parsed.directories, reverse=True)
    if memory:
        return [(inode, name, memory.below(name)) for inode, name in directories]
    return [(inode, name, None) for inode, name in directories]
