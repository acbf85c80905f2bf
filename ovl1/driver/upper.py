"""Copying what a container has changed: the upper directory of an overlay, as another one's.

Everything that belongs to the layer is kept: whiteouts, opaque marks, hard links within it,
attributes, times. What the kernel notes for itself (``trusted.overlay.origin``, ``impure``, ...) is
not, for it speaks of the place copied from. No inode is shared, as a container writes in place.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple

from ovl1.errors import LayerError
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, Directory
from ovl1.tree.copy import copy_directory_metadata, copy_entry
from ovl1.tree.marks import OPAQUE, REDIRECT
from ovl1.tree.view import Parts


class _Level(NamedTuple):
    source: Directory
    target: Directory
    path: Parts
    subdirectories: List[bytes]

    def close(self) -> None:
        self.source.close()
        self.target.close()


def copy_upper(source: Directory, target: Directory) -> None:
    """Fill the empty directory `target` with a copy of `source`, its own metadata included.

    Raises:
        LayerError: it holds what only a kernel with ``redirect_dir`` or ``metacopy`` can show.
    """
    copied: Dict[int, Tuple[Parts, bytes]] = {}
    levels: List[_Level] = []
    try:
        levels.append(_enter(source.descend(()), target.descend(()), (), target, copied))
        while levels:
            level = levels[-1]
            if level.subdirectories:
                name = level.subdirectories.pop()
                level.target.mkdir(name)
                below = level.source.child(name), level.target.child(name)
                levels.append(_enter(*below, (*level.path, name), target, copied))
            else:
                # Last, because every name made in a directory changes its times.
                _dress(level.source, level.target)
                levels.pop().close()
    finally:
        for level in levels:
            level.close()


def _enter(
    source: Directory,
    target: Directory,
    path: Parts,
    root: Directory,
    copied: Dict[int, Tuple[Parts, bytes]],
) -> _Level:
    """Copy all but directories, which are put on the level's list."""
    level = _Level(source, target, path, [])
    for name, inode, kind in source.names():
        if kind == DIR:
            level.subdirectories.append(name)
        elif inode in copied:
            parts, first = copied[inode]
            with root.descend(parts) as directory:
                target.link_from(directory, first, name)
        else:
            copy_entry(source, target, name)
            if source.lstat(name).st_nlink > 1:
                copied[inode] = (path, name)
    return level


def _dress(source: Directory, target: Directory) -> None:
    attributes = xattrs.read_fd(source.fd)
    if REDIRECT in attributes:
        raise LayerError(
            f"a directory was renamed in place (redirect_dir): {attributes[REDIRECT]!r}",
            resolution="Copy the directory in the container and remove the first one.",
        )
    if attributes.get(OPAQUE) == b"y":
        xattrs.set_fd(target.fd, OPAQUE, b"y")
    copy_directory_metadata(source, target)
