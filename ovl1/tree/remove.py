"""Deleting a tree by directory descriptors, without following anything out of it.

Stops at other file systems: what is mounted below is not ours to delete.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import List, NamedTuple

from ovl1.linux.beneath import DIR, Directory


class _Level(NamedTuple):
    directory: Directory
    name: bytes
    subdirectories: List[bytes]


def remove_tree(parent: Directory, name: bytes) -> int:
    """Delete the entry `name` of `parent` and all below it; gone already is fine.

    Returns:
        How many names were removed.

    Raises:
        OSError: ``EBUSY`` when something is mounted below; what was removed stays removed.
    """
    try:
        status = parent.lstat(name)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        parent.unlink(name)
        return 1
    removed = 0
    levels = [_Level(_open(parent, name, status.st_dev), name, [])]
    removed += _empty(levels[0])
    try:
        while levels:
            directory, finished, subdirectories = levels[-1]
            if subdirectories:
                below = subdirectories.pop()
                level = _Level(_open(directory, below, status.st_dev), below, [])
                levels.append(level)
                removed += _empty(level)
            else:
                levels.pop().directory.close()
                (levels[-1].directory if levels else parent).rmdir(finished)
                removed += 1
    finally:
        for level in levels:
            level.directory.close()
    return removed


def _open(parent: Directory, name: bytes, device: int) -> Directory:
    directory = parent.child(name)
    if directory.stat().st_dev != device:
        directory.close()
        raise OSError(errno.EBUSY, "something is mounted there", os.fsdecode(name))
    return directory


def _empty(level: _Level) -> int:
    """Unlink all but directories, which are put on the level's list."""
    removed = 0
    for name, _, kind in level.directory.names():
        if kind == DIR:
            level.subdirectories.append(name)
        else:
            level.directory.unlink(name)
            removed += 1
    return removed
