"""A second tree with the same files: directories made anew, everything else linked.

This is how the `overlay` driver begins a layer with its parent's content. Docker makes symbolic
links and specials anew as well; linking them shows the same and costs no inode. What cannot have
another name is copied: it has too many, is immutable, or lies in another project quota.
"""

from __future__ import annotations

import errno
from typing import Dict, List, NamedTuple, Tuple

from ovl1.linux.beneath import DIR, Directory
from ovl1.tree.copy import copy_directory_metadata, copy_entry

_NO_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV)

_Place = Tuple[Tuple[bytes, ...], bytes]


class _Level(NamedTuple):
    source: Directory
    target: Directory
    path: Tuple[bytes, ...]
    subdirectories: List[bytes]


def clone(source: Directory, target: Directory) -> None:
    """Fill the empty directory `target` with the tree `source`, its own metadata included.

    Nothing in `source` changes but link counts and change times.

    Raises:
        OSError: what a system call refused; `target` is then incomplete.
    """
    copies: Dict[int, _Place] = {}
    levels = [_Level(source.descend(()), target.descend(()), (), [])]
    try:
        _link_names(levels[0], target, copies)
        while levels:
            level = levels[-1]
            if level.subdirectories:
                name = level.subdirectories.pop()
                level.target.mkdir(name)
                below = level.source.child(name), level.target.child(name)
                levels.append(_Level(*below, (*level.path, name), []))
                _link_names(levels[-1], target, copies)
            else:
                # Last, because every name made in a directory changes its times.
                copy_directory_metadata(level.source, level.target)
                _close(levels.pop())
    finally:
        for level in levels:
            _close(level)


def _link_names(level: _Level, root: Directory, copies: Dict[int, _Place]) -> None:
    """Link all but directories, which are put on the level's list."""
    for name, inode, kind in level.source.names():
        if kind == DIR:
            level.subdirectories.append(name)
            continue
        try:
            level.target.link_from(level.source, name, name)
        except OSError as err:
            if err.errno not in _NO_LINK:
                raise
            _copy(level, name, inode, root, copies)


def _copy(
    level: _Level, name: bytes, inode: int, root: Directory, copies: Dict[int, _Place]
) -> None:
    """Copy an entry, once for all names that it has in this tree."""
    if inode in copies:
        path, first = copies[inode]
        with root.descend(path) as directory:
            level.target.link_from(directory, first, name)
    else:
        copy_entry(level.source, level.target, name)
        copies[inode] = (level.path, name)


def _close(level: _Level) -> None:
    level.source.close()
    level.target.close()
