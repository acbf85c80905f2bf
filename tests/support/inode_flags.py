"""Flags and project ids of inodes: what makes the kernel refuse to link them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Iterator

# linux/fs.h
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
_FSGETXATTR, _FSSETXATTR = 0x801C581F, 0x401C5820
_IMMUTABLE_FL = 0x10
_XFLAG_PROJINHERIT = 0x200
_FSXATTR = struct.Struct("=5I8x")


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """`path` can neither be changed nor linked inside the block."""
    fd = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _GETFLAGS, bytes(8)))
        fcntl.ioctl(fd, _SETFLAGS, struct.pack("l", flags | _IMMUTABLE_FL))
        try:
            yield
        finally:
            fcntl.ioctl(fd, _SETFLAGS, struct.pack("l", flags))
    finally:
        os.close(fd)


def give_to_project(directory: Path, project: int) -> None:
    """Let `directory`, and all that is made in it from now on, belong to `project`."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        flags, extent, count, _, cow = _FSXATTR.unpack(fcntl.ioctl(fd, _FSGETXATTR, bytes(28)))
        changed = _FSXATTR.pack(flags | _XFLAG_PROJINHERIT, extent, count, project, cow)
        fcntl.ioctl(fd, _FSSETXATTR, changed)
    finally:
        os.close(fd)
