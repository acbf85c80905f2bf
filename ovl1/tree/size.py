"""How many bytes the files of a tree hold, as moby's ``pkg/directory.Size`` counts them."""

from __future__ import annotations

import stat
from typing import List, Set, Tuple

from ovl1.linux.beneath import Directory
from ovl1.linux.trail import Trail


def tree_size(root: Directory) -> int:
    """Bytes of everything below `root` but directories, each inode once; follows no links.

    A symbolic link counts with the length of its target, a sparse file with its holes.
    """
    total = 0
    seen: Set[int] = set()
    pending: List[Tuple[int, bytes]] = []
    with Trail(root) as trail:
        total += _files(root, 0, pending, seen)
        while pending:
            # The last one found is below where the trail is, or beside something on it.
            depth, name = pending.pop()
            total += _files(trail.enter(depth, name), depth + 1, pending, seen)
    return total


def _files(here: Directory, depth: int, pending: List[Tuple[int, bytes]], seen: Set[int]) -> int:
    total = 0
    for name in here.names():
        status = here.lstat(name.name)
        if stat.S_ISDIR(status.st_mode):
            pending.append((depth, name.name))
        elif status.st_nlink == 1:
            total += status.st_size
        elif status.st_ino not in seen:
            seen.add(status.st_ino)
            total += status.st_size
    return total
