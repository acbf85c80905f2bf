"""Inodes and bytes of a file system, as the kernel counts them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import List

from ovl1.linux import durable
from ovl1.tree.marks import is_whiteout

_PATIENCE = 5.0
_MOMENT = 0.05


def used(path: Path) -> int:
    """Inodes in use on the file system of `path`."""
    system = os.statvfs(path)
    return system.f_files - system.f_ffree


def used_in_the_end(path: Path, expected: int) -> int:
    """xfs frees the inodes of removed files a moment later (fs/xfs/xfs_icache.c, inodegc)."""
    durable.sync_file_system(path)
    deadline = time.monotonic() + _PATIENCE
    while used(path) != expected and time.monotonic() < deadline:
        time.sleep(_MOMENT)
    return used(path)


def plainly_counted(path: Path) -> int:
    """Distinct inodes by lstat of every name: slow, and nothing to get wrong."""
    inodes = {path.lstat().st_ino}
    for directory, subdirectories, files in os.walk(os.fsencode(path)):
        inodes.update(os.lstat(os.path.join(directory, n)).st_ino for n in subdirectories + files)
    return len(inodes)


def whiteouts(home: Path) -> List[int]:
    """The inode of each name that is hidden."""
    found = [Path(here, name).lstat() for here, _, names in os.walk(home) for name in names]
    return [status.st_ino for status in found if is_whiteout(status)]
