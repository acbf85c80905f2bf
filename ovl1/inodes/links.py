"""How near inodes are to the number of names that their file system allows.

Each layer of ``overlay`` gives every file below it at least one more name, so a base on which
enough is built makes ``link`` fail with ``EMLINK`` one day. Which inodes have the most names is
guessed from the names that they have in the layer that brought them, and then asked of the file
system: of inodes with equally many only some are looked at.
"""

from __future__ import annotations

import bisect
import heapq
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional

from ovl1.inodes.found import Found
from ovl1.linux.beneath import Directory

LIMITS = {"ext2": 32000, "ext3": 32000, "ext4": 65000, "xfs": 2**31 - 1}
"""Names of an inode: EXT2_LINK_MAX, EXT4_LINK_MAX, XFS_MAXLINK. btrfs limits those in one
directory instead."""

_CANDIDATES = 16


@dataclass(frozen=True)
class Linked:
    """A regular file with many names."""

    inode: int
    path: str
    """One of its names, below the data-root."""
    names: int
    """How many of them the layer has that brought it."""
    links: int
    """``st_nlink``: all of them."""
    limit: Optional[int] = None
    """How many the file system allows; None if it sets no limit to all of them together."""

    @property
    def more_layers(self) -> Optional[int]:
        """How many layers with as many names of it fit before ``EMLINK``."""
        return None if self.limit is None else max(self.limit - self.links, 0) // self.names


def most_linked(tree: Directory, found: Found, where: bytes) -> List[Linked]:
    """The candidates among the files that were found in a tree.

    Args:
        where: the path of the tree, for the result.
    """
    files, again = found.files, found.again
    largest = heapq.nlargest(_CANDIDATES, again, key=lambda inode: again[inode])
    chosen = set(map(files.index, largest))
    chosen.update(range(0, len(files), max(len(files) // _CANDIDATES, 1)))
    wanted: Dict[bytes, List[int]] = {}
    origins = found.origins
    for at in sorted(chosen):
        path = origins.paths[bisect.bisect_right(origins.starts, at) - 1]
        wanted.setdefault(path, []).append(files[at])
    return [
        linked
        for path, inodes in wanted.items()
        for linked in _looked_up(tree, path, inodes, again, where)
    ]


def _looked_up(
    tree: Directory, origin: bytes, inodes: List[int], again: Mapping[int, int], where: bytes
) -> Iterable[Linked]:
    left = set(inodes)
    parts = origin.split(b"/") if origin else []
    try:
        with tree.descend(parts) as directory:
            for entry in directory.names():
                if entry.inode in left:
                    left.discard(entry.inode)
                    links = directory.lstat(entry.name).st_nlink
                    path = b"/".join((where, *parts, entry.name))
                    yield Linked(
                        entry.inode,
                        path.decode("utf-8", "surrogateescape"),
                        again.get(entry.inode, 0) + 1,
                        links,
                    )
    except OSError:
        # It was only there a moment ago: then it is not what fills the file system.
        return


def nearest(linked: Iterable[Linked], limit: Optional[int], number: int) -> List[Linked]:
    """Those with the fewest layers left, or the most names; each inode once."""
    unique: Dict[int, Linked] = {}
    for each in linked:
        known = unique.setdefault(each.inode, each)
        # A layer may have several trees.
        if each.names > known.names:
            unique[each.inode] = each
    rated = [
        Linked(each.inode, each.path, each.names, each.links, limit) for each in unique.values()
    ]
    rated.sort(key=lambda each: (each.more_layers or 0, -each.links, each.path))
    return rated[:number]
