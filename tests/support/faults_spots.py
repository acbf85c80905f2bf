"""What a system call that waits is about: paths, and the file systems that they lie on.

Nothing else of the task goes on meanwhile that would change the answer, as long as it has no other
threads.
"""

from __future__ import annotations

import os
import struct
from typing import List, NamedTuple

from tests.support.faults_calls import WRITING, Call, Spot
from tests.support.faults_notify import Asked

_AT_FDCWD = -100  # linux/fcntl.h
_PATH_MAX = 4096  # linux/limits.h


class Found(NamedTuple):
    """One of the things that a call is about."""

    device: int
    """The number of the file system; -1 if there is no such thing, and the call will fail."""
    path: str


def spots(asked: Asked, call: Call) -> List[Found]:
    """Everything that a call is about; nothing if it changes nothing."""
    if call.name == "openat2":  # its flags are in struct open_how, linux/openat2.h
        flags = _memory(asked.task, asked.arguments[2], 8)
        if not int.from_bytes(flags, "little") & WRITING:
            return []
    return [_found(asked, spot) for spot in call.spots]


def _found(asked: Asked, spot: Spot) -> Found:
    base = f"/proc/{asked.task}/cwd"
    if spot.fd is not None:
        (number,) = struct.unpack("=i4x", struct.pack("=Q", asked.arguments[spot.fd]))
        if number != _AT_FDCWD:
            base = f"/proc/{asked.task}/fd/{number}"
    path = ""
    if spot.path is not None:
        path = os.fsdecode(_memory(asked.task, asked.arguments[spot.path], _PATH_MAX, end=b"\0"))
    for own in ("/proc/self/", "/proc/thread-self/"):
        if path.startswith(own):
            path = f"/proc/{asked.task}/{path[len(own) :]}"
    try:
        if not path:
            return Found(os.stat(base).st_dev, os.readlink(base))
        return _named(os.path.join(base, path.rstrip("/") or "/"))
    except OSError:
        return Found(-1, path)


def _named(path: str) -> Found:
    """A name that may not be there yet: it lies where its directory is.

    But what one opens through ``/proc/self/fd`` lies where that leads to.
    """
    directory, name = os.path.split(path)
    shown = os.path.join(os.path.realpath(directory), name)
    if shown.startswith("/proc/"):
        return Found(os.stat(path).st_dev, os.path.realpath(path))
    return Found(os.stat(directory).st_dev, shown)


def _memory(task: int, address: int, size: int, end: bytes = b"") -> bytes:
    """What a task has at an address, up to `end`; nothing if there is nothing, or it is gone."""
    if not address:
        return b""
    try:
        fd = os.open(f"/proc/{task}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.pread(fd, size, address)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return found.split(end, 1)[0] if end else found
