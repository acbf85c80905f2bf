"""Making a layer directory from the events of `ovl1.layer.delta`.

Entries of image layers become further names of the source's inodes, so that no data are copied
and a name keeps its inode number; where the file system refuses (too many links, another project
quota, an immutable file) and where the layer will be written to, they become copies, all names of
an inode those of one copy. Whiteouts are names of one inode, too, which nothing ever changes, as
overlayfs makes them since Linux 5.8. The source is only read. Nothing is fsynced here: the caller
syncs the whole file system once at the end.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Tuple

from ovl1.layer.delta import Absent, Enter, Entry, Event, Leave, Whiteout
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory
from ovl1.numberset import NumberSet
from ovl1.tree.copy import copy_directory_metadata, copy_entry
from ovl1.tree.marks import OPAQUE
from ovl1.tree.regroup import regroup
from ovl1.tree.view import Parts

_NO_LINK = (errno.EMLINK, errno.EXDEV, errno.EPERM)


@dataclass
class Built:
    """What has been made; each count is of directory entries."""

    directories: int = 0
    linked: int = 0
    copied: int = 0
    """Entries with an inode of their own."""
    copied_bytes: int = 0
    """Disk space that the copied entries take in the source."""
    relinked: int = 0
    """Further names of copied inodes."""
    whiteouts: int = 0
    absent: int = 0
    """Names that the tar lists and the view does not show."""

    def __add__(self, other: Built) -> Built:
        return Built(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    @property
    def new_inodes(self) -> int:
        """Inodes that did not exist before, if no whiteout's takes no more names."""
        return self.directories + self.copied + bool(self.whiteouts)


Whereabouts = Tuple[Directory, bytes]
"""A directory and a name in it."""


def make_whiteout(directory: Directory, name: bytes) -> None:
    """Make the device 0:0 that hides a name."""
    directory.mknod(name, stat.S_IFCHR, os.makedev(0, 0))


def build(
    events: Iterable[Event],
    target: Directory,
    *,
    own_copy: bool,
    whiteout: Optional[Whereabouts] = None,
) -> Built:
    """Apply `events` to the empty directory `target`.

    Args:
        own_copy: never link to the source's inodes; for layers that something writes to in place.
        whiteout: one to give further names, as long as it takes them; by default one is made.
    """
    builder = _Builder(target, own_copy=own_copy, whiteout=whiteout)
    try:
        for event in events:
            builder.apply(event)
        builder.regroup()
    finally:
        builder.close()
    return builder.built


def count(events: Iterable[Event], linked: NumberSet, *, own_copy: bool) -> Built:
    """What `build` would make of the same arguments, without making it.

    Args:
        linked: inode numbers of entries that become links; added to, so that its length over all
            layers of a store is the number of inodes that they keep.
    """
    built = Built()
    copies = NumberSet()
    for event in events:
        if isinstance(event, Enter):
            built.directories += 1 if event.name else 0
        elif isinstance(event, Whiteout):
            built.whiteouts += 1
        elif isinstance(event, Absent):
            built.absent += 1
        elif isinstance(event, Entry):
            if not own_copy and event.source.lends(event.name):
                built.linked += 1
                linked.add(event.found.inode)
            elif copies.add(event.found.inode):
                built.copied += 1
                built.copied_bytes += event.source.lstat(event.name).st_blocks * 512
            else:
                built.relinked += 1
    return built


class _Builder:
    def __init__(
        self, target: Directory, *, own_copy: bool, whiteout: Optional[Whereabouts]
    ) -> None:
        self.built = Built()
        self._target = target
        self._own_copy = own_copy
        self._here: List[Directory] = []
        self._parts: List[bytes] = []
        self._copies: Dict[int, Tuple[Parts, bytes]] = {}
        self._whiteout = whiteout
        self._own_whiteout: Optional[Directory] = None
        """The directory of one that was made here."""

    def close(self) -> None:
        while self._here:
            self._here.pop().close()
        if self._own_whiteout is not None:
            self._own_whiteout.close()

    def apply(self, event: Event) -> None:
        if isinstance(event, Entry):
            self._entry(event)
        elif isinstance(event, Enter):
            self._enter(event)
        elif isinstance(event, Leave):
            directory = self._here.pop()
            with directory:
                copy_directory_metadata(event.source, directory)
            if self._parts:
                self._parts.pop()
        elif isinstance(event, Whiteout):
            self._hide(event.name)
            self.built.whiteouts += 1
        elif isinstance(event, Absent):
            self.built.absent += 1

    def regroup(self) -> None:
        """When all is made: what an inode did take of its names goes to its copy, too."""
        if not (self._copies and self.built.linked):
            return
        for _ in regroup(self._target, self._copies):
            self.built.linked -= 1
            self.built.relinked += 1

    def _enter(self, event: Enter) -> None:
        if not self._here:
            self._here.append(self._target.descend(()))
        else:
            self._here[-1].mkdir(event.name)
            self._here.append(self._here[-1].child(event.name))
            self._parts.append(event.name)
            self.built.directories += 1
        if event.opaque:
            xattrs.set_fd(self._here[-1].fd, OPAQUE, b"y")

    def _hide(self, name: bytes) -> None:
        here = self._here[-1]
        if self._whiteout is not None:
            try:
                here.link_from(*self._whiteout, name)
                return
            except OSError as err:
                if err.errno not in _NO_LINK:
                    raise
        make_whiteout(here, name)
        if self._own_whiteout is not None:
            self._own_whiteout.close()
        self._own_whiteout = here.descend(())
        self._whiteout = (self._own_whiteout, name)

    def _entry(self, event: Entry) -> None:
        here = self._here[-1]
        first = self._copies.get(event.found.inode)
        if first is None and not self._own_copy:
            try:
                here.link_from(event.source, event.name, event.name)
                self.built.linked += 1
                return
            except OSError as err:
                if err.errno not in _NO_LINK:
                    raise
        if first is not None:
            with self._target.descend(first[0]) as directory:
                here.link_from(directory, first[1], event.name)
            self.built.relinked += 1
            return
        status = event.source.lstat(event.name)
        copy_entry(event.source, here, event.name)
        self.built.copied += 1
        self.built.copied_bytes += status.st_blocks * 512
        if status.st_nlink > 1:
            self._copies[event.found.inode] = (tuple(self._parts), event.name)
