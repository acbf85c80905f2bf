"""What a file system says that it uses, and how large one must be for what is to go onto it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple, Optional

from ovl1.errors import NotPossibleHere
from ovl1.linux import durable
from ovl1.linux.loopback import GIB, loop_file_system

KINDS = ("ext4", "xfs", "btrfs")
WITHOUT_INODE_COUNT = "btrfs"
"""It makes inodes as it needs them; statvfs(3) gives none."""

_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h
_BLOCK = 4096
_SPARE_INODES = 4000
"""What a daemon has beside its images, with much room."""
_SPARE_BYTES = 256 << 20
_ROOM = 4
"""How many times the space needed the file system has: its file is sparse, and xfs gives inodes a
quarter of it."""


class Used(NamedTuple):
    """Of a file system."""

    inodes: Optional[int]
    """None where it does not count them."""
    bytes: int

    def __sub__(self, other: Used) -> Used:
        inodes = None
        if self.inodes is not None and other.inodes is not None:
            inodes = self.inodes - other.inodes
        return Used(inodes, self.bytes - other.bytes)


class Need(NamedTuple):
    """At most, of a store with the images."""

    inodes: int
    content: int
    """Bytes of all its layers' tars."""

    @property
    def bytes(self) -> int:
        """On the disk: each inode may have a block of its own, and takes some of a table.

        Docker unpacks an archive beside its store.
        """
        return 2 * self.content + self.inodes * (_BLOCK + 1024) + _SPARE_BYTES


def used(path: Path) -> Used:
    """What is in use on the file system of `path`, with everything written and freed.

    Freezes it for a moment: xfs gives inodes back later, unless it is told to be ready now
    (fs/xfs/xfs_icache.c, ``xfs_inodegc_stop``).
    """
    durable.sync_file_system(path)
    _control(path, _FIFREEZE, _FITHAW)
    now = os.statvfs(path)
    inodes = now.f_files - now.f_ffree if now.f_files else None
    return Used(inodes, (now.f_blocks - now.f_bfree) * now.f_frsize)


def require(kinds: Iterable[str]) -> None:
    """See to it that file systems of these kinds can be made.

    Raises:
        NotPossibleHere: a program is missing.
    """
    for kind in kinds:
        if shutil.which(f"mkfs.{kind}") is None:
            raise NotPossibleHere(
                f"the program mkfs.{kind} is missing",
                resolution="Install e2fsprogs, xfsprogs or btrfs-progs, or name other file "
                "systems with --fs.",
            )


@contextlib.contextmanager
def made_for(kind: str, need: Need, directory: Path) -> Iterator[Path]:
    """A new file system with room for a store; afterwards nothing of it is left.

    Args:
        directory: where its sparse file lies.

    Raises:
        NotPossibleHere: there is no space, or as `loop_file_system`.
    """
    free = shutil.disk_usage(directory).free
    if free < need.bytes:
        raise NotPossibleHere(
            f"{directory} has too little space for the file system to measure on",
            details=f"{need.bytes >> 20} MiB may be needed, {free >> 20} are free.",
            resolution="Name a directory that has more with --directory, or take smaller images.",
        )
    inodes = need.inodes + _SPARE_INODES if kind == "ext4" else None
    size = max(GIB, _ROOM * need.bytes)
    with loop_file_system(kind, directory, size, inodes) as disk:
        try:
            yield disk
        finally:
            # Whoever was killed in `used` may have left it frozen, and nobody could unmount it.
            with contextlib.suppress(OSError):
                _control(disk, _FITHAW)


def _control(disk: Path, *requests: int) -> None:
    fd = os.open(disk, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for request in requests:
            fcntl.ioctl(fd, request, 0)
    finally:
        os.close(fd)
