"""System calls that Python's `os` lacks, as functions that raise ``OSError`` with the path.

Nothing here decides anything. Constants are from the kernel's headers, named beside them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
from typing import List, Tuple

MNT_DETACH = 2  # linux/fs.h
CLONE_FS = 0x200  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 1 << 1  # linux/fs.h
_FICLONE = 0x40049409  # linux/fs.h, _IOW(0x94, 9, int)


class _Dirent(ctypes.Structure):  # glibc's and musl's struct dirent on 64-bit Linux
    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_ushort),
        ("d_type", ctypes.c_ubyte),
        ("d_name", ctypes.c_char * 256),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, path: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """mount(2). `data` must fit the kernel's option page, see `ovl1.linux.mounts`."""
    encode = os.fsencode
    _check(
        _libc.mount(
            encode(source), encode(target), encode(fstype), ctypes.c_ulong(flags), encode(data)
        ),
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def unshare(flags: int) -> None:
    """unshare(2): the calling thread no longer shares `flags` with the others."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def file_system_magic(path: str) -> int:
    """statfs(2): the number of the kind of file system that `path` lies on (linux/magic.h)."""
    buffer = (ctypes.c_long * 64)()  # more than struct statfs; f_type is its first word
    _check(_libc.statfs(os.fsencode(path), buffer), path)
    return buffer[0] & 0xFFFFFFFF


def syncfs(fd: int) -> None:
    """syncfs(2): all that was written to the file system of `fd` reaches the disk."""
    _check(_libc.syncfs(ctypes.c_int(fd)), f"fd {fd}")


def exchange(first: str, second: str) -> None:
    """renameat2(2) with RENAME_EXCHANGE: the two names change places, at one instant.

    ``ENOSYS`` without glibc 2.28; ``EINVAL`` where the file system cannot (xfs before Linux 4.0).
    """
    try:
        renameat2 = _libc.renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), first) from None
    here = ctypes.c_int(_AT_FDCWD)
    names = os.fsencode(first), os.fsencode(second)
    _check(renameat2(here, names[0], here, names[1], ctypes.c_uint(_RENAME_EXCHANGE)), first)


def die_with_parent() -> None:
    """prctl PR_SET_PDEATHSIG: this process is killed when the one that forked it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0))), "prctl")


def clone_file(source_fd: int, target_fd: int) -> None:
    """ioctl FICLONE: make the target share the source's blocks (btrfs, xfs)."""
    fcntl.ioctl(target_fd, _FICLONE, source_fd)


def directory_types(path: str) -> List[Tuple[bytes, int]]:
    """The names of a directory with the ``d_type`` that readdir(3) gives; 0 is "unknown".

    `os.scandir` hides whether the type was there or needed a ``stat``; this shows it.
    """
    _libc.opendir.restype = ctypes.c_void_p
    _libc.readdir.restype = ctypes.POINTER(_Dirent)
    stream = _libc.opendir(os.fsencode(path))
    if not stream:
        _check(-1, path)
    found: List[Tuple[bytes, int]] = []
    try:
        while True:
            entry = _libc.readdir(ctypes.c_void_p(stream))
            if not entry:
                return found
            found.append((entry.contents.d_name, entry.contents.d_type))
    finally:
        _libc.closedir(ctypes.c_void_p(stream))
