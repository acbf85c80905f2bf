"""Which blocks of a file are also those of other files: after a reflink, on xfs, btrfs and others.

The kernel says of each extent whether it is shared (``FS_IOC_FIEMAP``, linux/fiemap.h), not with
whom. Limits: on btrfs, what is compressed is measured as it would be uncompressed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from ovl1.linux import libc

_FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap)
_HEADER = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQ16xI12x")
_LAST, _SHARED = 0x1, 0x2000
_AT_ONCE = 64
_EXT = 0xEF53  # linux/magic.h
_NO_MAP = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS)


def may_share(path: Path) -> bool:
    """Whether files on the file system of `path` may have blocks in common."""
    return libc.file_system_magic(os.fspath(path)) != _EXT


def shared_bytes(fd: int) -> int:
    """Bytes of an open file that lie in blocks of other files, too; 0 where nobody can tell.

    Raises:
        OSError: it cannot be read.
    """
    start = found = 0
    while True:
        buffer = bytearray(_HEADER.size + _AT_ONCE * _EXTENT.size)
        _HEADER.pack_into(buffer, 0, start, (1 << 64) - 1 - start, 0, 0, _AT_ONCE, 0)
        try:
            fcntl.ioctl(fd, _FIEMAP, buffer)
        except OSError as err:
            if err.errno in _NO_MAP:
                return 0
            raise
        mapped = _HEADER.unpack_from(buffer)[3]
        for number in range(mapped):
            at = _HEADER.size + number * _EXTENT.size
            logical, _, length, flags = _EXTENT.unpack_from(buffer, at)
            start = logical + length
            found += length if flags & _SHARED else 0
            if flags & _LAST:
                return found
        if not mapped:
            return found
