"""Giving names of some inodes to their copies, so that hard links stay one group.

An inode may take some of the names that a walk wants to give it, and then no more: only then, when
the names are all made, is it known that the first ones must be the copy's, too.
"""

from __future__ import annotations

import os
from typing import Iterator, List, Mapping, Tuple

from ovl1.linux.beneath import DIR, Directory
from ovl1.linux.trail import Trail
from ovl1.tree.view import Parts


def regroup(root: Directory, copies: Mapping[int, Tuple[Parts, bytes]]) -> Iterator[int]:
    """Let each name below `root` of an inode in `copies` be one of its copy instead.

    Directories keep their times. No link is followed. Nothing is synced, and after a kill a name
    may be missing.

    Args:
        copies: where each inode's copy lies below `root`.

    Yields:
        The inode whose name was given away, for each.
    """
    pending: List[Tuple[int, bytes]] = []
    with Trail(root) as trail:
        here = trail.at(0)
        while True:
            names = here.names()
            pending += [(len(trail.parts), name) for name, _, kind in names if kind == DIR]
            crowded = [(name, inode) for name, inode, _ in names if inode in copies]
            if crowded:
                status = here.stat()
                for name, inode in crowded:
                    _give(root, copies[inode], here, name)
                    yield inode
                os.utime(here.fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            if not pending:
                return
            here = trail.enter(*pending.pop())


def _give(root: Directory, copy: Tuple[Parts, bytes], here: Directory, name: bytes) -> None:
    here.unlink(name)
    with root.descend(copy[0]) as directory:
        here.link_from(directory, copy[1], name)
