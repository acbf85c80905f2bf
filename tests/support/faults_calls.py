"""The system calls that can change a file system: their numbers, and what each of them is about.

Not among them: writes through memory mapped shared and writable, io_uring, and handles of
open_by_handle_at(2). Numbers are from the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h; an old call is missing on machines that never had it.
"""

from __future__ import annotations

import errno
import os
from typing import Dict, List, NamedTuple, Optional, Tuple


class Spot(NamedTuple):
    """Where among a call's arguments it says on what it acts."""

    fd: Optional[int] = None
    """A descriptor; with a path, the directory that it starts from."""
    path: Optional[int] = None
    """A path; empty or missing, it stands for the descriptor."""


class Call(NamedTuple):
    """A system call."""

    name: str
    spots: Tuple[Spot, ...]
    """None: it is about all file systems."""
    flags: Optional[int] = None
    """The argument that tells whether this `open` can change anything: see `WRITING`."""
    request: Optional[int] = None
    """The argument that is one of `IOCTLS`, if this `ioctl` can change anything."""


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

IOCTLS = {
    "FICLONE": 0x40049409,
    "FICLONERANGE": 0x4020940D,
    "FIDEDUPERANGE": 0xC0189436,
    "FS_IOC_SETFLAGS": 0x40086602,
    "FS_IOC_FSSETXATTR": 0x401C5820,
}
"""linux/fs.h"""

# Only a link can be one too many, only what has two names can have them on two file systems.
_ONLY = {
    errno.EMLINK: ("link", "linkat"),
    errno.EXDEV: ("link", "linkat", "rename", "renameat", "renameat2"),
}

# Name, number on x86_64 and on aarch64, and on what it acts: `f0` is the descriptor in argument 0,
# `p0` a path there, `a0` a directory's descriptor with the path in the next argument.
_TABLE = """
write 1 64 f0
open 2 - p0
ioctl 16 29 f0
pwrite64 18 68 f0
writev 20 66 f0
sendfile 40 71 f0
fsync 74 82 f0
fdatasync 75 83 f0
truncate 76 45 p0
ftruncate 77 46 f0
rename 82 - p0 p1
mkdir 83 - p0
rmdir 84 - p0
creat 85 - p0
link 86 - p0 p1
unlink 87 - p0
symlink 88 - p1
chmod 90 - p0
fchmod 91 52 f0
chown 92 - p0
fchown 93 55 f0
lchown 94 - p0
utime 132 - p0
mknod 133 - p0
sync 162 81
mount 165 40 p1
umount2 166 39 p0
setxattr 188 5 p0
lsetxattr 189 6 p0
fsetxattr 190 7 f0
removexattr 197 14 p0
lremovexattr 198 15 p0
fremovexattr 199 16 f0
utimes 235 - p0
openat 257 56 a0
mkdirat 258 34 a0
mknodat 259 33 a0
fchownat 260 54 a0
futimesat 261 - a0
unlinkat 263 35 a0
renameat 264 38 a0 a2
linkat 265 37 a0 a2
symlinkat 266 36 a1
fchmodat 268 53 a0
splice 275 76 f2
sync_file_range 277 84 f0
utimensat 280 88 a0
fallocate 285 47 f0
pwritev 296 70 f0
syncfs 306 267 f0
renameat2 316 276 a0 a2
copy_file_range 326 285 f2
pwritev2 328 287 f0
move_mount 429 429 a2
openat2 437 437 a0
fchmodat2 452 452 a0
setxattrat 463 463 a0
removexattrat 466 466 a0
file_setattr 469 469 a0
"""

_FLAGS = {"open": 1, "openat": 2}
_REQUEST = {"ioctl": 1}


def calls(machine: str) -> Dict[int, Call]:
    """The calls by their numbers.

    Raises:
        KeyError: the numbers of this machine are not known here.
    """
    column = {"x86_64": 1, "aarch64": 2}[machine]
    found = {}
    for fields in map(str.split, _TABLE.strip().splitlines()):
        name, number, spots = fields[0], fields[column], tuple(map(_spot, fields[3:]))
        if number != "-":
            found[int(number)] = Call(name, spots, _FLAGS.get(name), _REQUEST.get(name))
    return found


def can_give(call: str, error: int) -> bool:
    """Whether a call can fail so; on one file system or another all can be out of space."""
    return call in _ONLY.get(error, (call,))


def _spot(text: str) -> Spot:
    kind, argument = text[0], int(text[1:])
    if kind == "a":
        return Spot(argument, argument + 1)
    return Spot(fd=argument) if kind == "f" else Spot(path=argument)


def names(machine: str) -> List[str]:
    """All that are known for a machine."""
    return [call.name for call in calls(machine).values()]
