"""Extended attributes, through the `xattr` package; the only module that imports it.

No function follows a symbolic link. Names are ``str`` and values ``bytes``. A file system without
extended attributes has none: reading gives an empty mapping, writing raises.
"""

from __future__ import annotations

import errno
import os
from typing import Dict

import xattr

Xattrs = Dict[str, bytes]

_NONE_HERE = (errno.ENOTSUP, errno.EOPNOTSUPP)


def read_fd(fd: int) -> Xattrs:
    """All attributes of an open file or directory."""
    return _read(xattr.xattr(fd), f"fd {fd}")


def read_at(dir_fd: int, name: bytes) -> Xattrs:
    """All attributes of the entry `name` of a directory, itself if it is a symbolic link."""
    return _read(xattr.xattr(_proc_path(dir_fd, name), xattr.XATTR_NOFOLLOW), repr(name))


def set_fd(fd: int, name: str, value: bytes) -> None:
    """Set one attribute of an open file or directory."""
    xattr.xattr(fd).set(name, value)


def set_at(dir_fd: int, name: bytes, attribute: str, value: bytes) -> None:
    """Set one attribute of the entry `name` of a directory."""
    xattr.xattr(_proc_path(dir_fd, name), xattr.XATTR_NOFOLLOW).set(attribute, value)


def remove_fd(fd: int, name: str) -> None:
    """Remove one attribute of an open file or directory."""
    xattr.xattr(fd).remove(name)


def _proc_path(dir_fd: int, name: bytes) -> bytes:
    # The kernel has no getxattrat before 6.13; a path through /proc leads to the same directory
    # whatever has been renamed meanwhile, and only the last component is `name`.
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)


def _read(handle: xattr.xattr, what: str) -> Xattrs:
    try:
        names = handle.list()
        return {name: handle.get(name) for name in names} if names else {}
    except UnicodeDecodeError as err:
        raise OSError(
            errno.EILSEQ, f"an extended attribute's name is not UTF-8: {err.object!r}", what
        ) from err
    except OSError as err:
        if err.errno in _NONE_HERE:
            return {}
        raise OSError(err.errno, os.strerror(err.errno or 0), what) from err
