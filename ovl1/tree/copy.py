"""Copying single entries so that nothing of them is lost and nothing is shared.

Contents are shared block-wise where the file system can (reflink), otherwise copied by the
kernel, holes kept. Metadata are copied whole: owner, permissions, all extended attributes but
overlayfs' own, times to the nanosecond.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Optional

from ovl1.linux import libc, xattrs
from ovl1.linux.beneath import Directory
from ovl1.tree.compare import refuse_metacopy, visible_xattrs

_CHUNK = 1 << 20
_NO_KERNEL_COPY = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
_NO_REFLINK = (*_NO_KERNEL_COPY, errno.ENOTTY, errno.EBADF, errno.ETXTBSY)


def copy_entry(source: Directory, target: Directory, name: bytes) -> bool:
    """Make in `target` an entry like the non-directory `name` of `source`, an inode of its own.

    Returns:
        Whether its content is shared block-wise.

    Raises:
        LayerError: the file is only a stub whose data lies in a lower layer (``metacopy``).
    """
    status = source.lstat(name)
    attributes = xattrs.read_at(source.fd, name)
    refuse_metacopy(source, name, attributes)
    reflinked = False
    if stat.S_ISREG(status.st_mode):
        target.mknod(name, stat.S_IFREG | 0o600)
        with source.reading(name) as reading:
            writing = target.open_file(name, os.O_WRONLY)
            try:
                reflinked = copy_content(reading, writing, status.st_size)
            finally:
                os.close(writing)
    elif stat.S_ISLNK(status.st_mode):
        target.symlink(source.readlink(name), name)
    else:
        target.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    target.chown(name, status.st_uid, status.st_gid)
    for attribute, value in visible_xattrs(attributes).items():
        xattrs.set_at(target.fd, name, attribute, value)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(name, stat.S_IMODE(status.st_mode))
    target.set_times(name, status.st_atime_ns, status.st_mtime_ns)
    return reflinked


def copy_directory_metadata(
    source: Directory, target: Directory, status: Optional[os.stat_result] = None
) -> None:
    """Give an open directory the metadata of another; to be called after it has been filled.

    Args:
        status: that of `source` before it was read, which changes the access time.
    """
    status = status or source.stat()
    now = target.stat()
    # What is as it should be already is left alone: each change would be one for the journal.
    if (status.st_uid, status.st_gid) != (now.st_uid, now.st_gid):
        os.fchown(target.fd, status.st_uid, status.st_gid)
    if _has_xattrs(source):
        for attribute, value in visible_xattrs(xattrs.read_fd(source.fd)).items():
            xattrs.set_fd(target.fd, attribute, value)
    if status.st_mode != now.st_mode:
        os.fchmod(target.fd, stat.S_IMODE(status.st_mode))
    os.utime(target.fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _has_xattrs(directory: Directory) -> bool:
    """A quick look, since most directories have none."""
    try:
        return bool(os.listxattr(directory.fd))
    except (OSError, UnicodeDecodeError):
        return True


def copy_content(source: int, target: int, size: int) -> bool:
    """Copy `size` bytes between open files, by reflink where possible; holes stay holes.

    Returns:
        Whether it was by reflink.
    """
    try:
        libc.clone_file(source, target)
        return True
    except OSError as err:
        if err.errno not in _NO_REFLINK:
            raise
    offset = 0
    while offset < size:
        start = _seek(source, offset, os.SEEK_DATA, size)
        end = _seek(source, start, os.SEEK_HOLE, size)
        _copy_range(source, target, start, end)
        offset = end
    os.ftruncate(target, size)
    return False


def _seek(fd: int, offset: int, whence: int, size: int) -> int:
    try:
        return min(os.lseek(fd, offset, whence), size)
    except OSError as err:
        if err.errno == errno.ENXIO:
            return size
        if err.errno == errno.EINVAL:
            return offset if whence == os.SEEK_DATA else size
        raise


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    os.lseek(source, start, os.SEEK_SET)
    os.lseek(target, start, os.SEEK_SET)
    left = end - start
    while left > 0:
        try:
            done = os.copy_file_range(source, target, min(left, 1 << 30))
        except (OSError, AttributeError) as err:  # AttributeError: built on an older libc
            if isinstance(err, OSError) and err.errno not in _NO_KERNEL_COPY:
                raise
            done = os.write(target, os.read(source, min(left, _CHUNK)))
        if done == 0:
            return
        left -= done
