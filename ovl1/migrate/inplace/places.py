"""What deciding, pruning and restoring need of the disk: moves, shared inodes, metadata, checks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Callable, Tuple

from ovl1.errors import HalfDone, LayerError
from ovl1.layer.build import make_whiteout
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory, checked
from ovl1.migrate.inplace.items import Header, Metadata
from ovl1.store.layout import DIFF
from ovl1.tree.marks import PRIVATE_PREFIX

GOING, COMING = b"going.ovl1-tmp", b"coming.ovl1-tmp"
"""In the layer's own directory: a directory being deleted, and one for what is being made."""

# linux/fs.h
_GETFLAGS = 0x80086601
_FROZEN = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
_NO_FLAGS = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)

NO_LINK = (errno.EMLINK, errno.EXDEV, errno.EPERM)
"""Too many names; another project quota; immutable."""


def tree_of(place: Path, header: Header) -> Path:
    """Where the layer's tree is now, by which of its two names it has.

    Raises:
        HalfDone: it has both, or neither.
    """
    found = [path for path in (place / header.tree, place / DIFF) if os.path.lexists(path)]
    if len(found) != 1:
        raise HalfDone(
            f"layer {header.layer_id.short} has {'both' if found else 'neither'} of "
            f"{header.tree} and {DIFF}",
            details=f"Something else has changed {place}.",
            resolution="Put it back as it was, then run this again.",
        )
    return found[0]


def move(source: Directory, name: bytes, target: Directory) -> None:
    """Rename `name` of `source` to the same name in `target`, where it must not exist."""
    move_as(source, name, target, name)


def move_as(source: Directory, name: bytes, target: Directory, new: bytes) -> None:
    """Rename `name` of `source` to `new` in `target`, which must not exist."""
    os.rename(checked(name), checked(new), src_dir_fd=source.fd, dst_dir_fd=target.fd)


def link_shared(
    area: Directory,
    shared: bytes,
    target: Directory,
    name: bytes,
    make: Callable[[Directory, bytes], None],
) -> None:
    """Give the inode `shared` of `area` the further name `name`; there already is fine.

    Args:
        make: makes the inode, the first time and when it takes no more names; and makes `name`
            itself where nothing can be linked.
    """
    if target.exists(name):
        return
    if not area.exists(shared):
        make(area, shared)
    try:
        target.link_from(area, shared, name)
    except OSError as err:
        if err.errno not in NO_LINK:
            raise
        if err.errno == errno.EMLINK:
            # The old one keeps its names.
            area.unlink(shared)
        make(target, name)


def private_xattrs(attributes: xattrs.Xattrs) -> xattrs.Xattrs:
    """Overlayfs' own among the attributes."""
    return {n: value for n, value in attributes.items() if n.startswith(PRIVATE_PREFIX)}


def set_xattrs(directory: Directory, wanted: xattrs.Xattrs, present: xattrs.Xattrs) -> None:
    """Change an open directory's attributes from `present` to `wanted`."""
    for name in present.keys() - wanted.keys():
        xattrs.remove_fd(directory.fd, name)
    for name, value in wanted.items():
        if present.get(name) != value:
            xattrs.set_fd(directory.fd, name, value)


def set_times(directory: Directory, times_ns: Tuple[int, int]) -> None:
    """Set an open directory's access and modification time."""
    os.utime(directory.fd, ns=times_ns)


def metadata_of(status: os.stat_result, attributes: xattrs.Xattrs) -> Metadata:
    """What `stat` and the attributes of an inode say, as it is recorded."""
    times = (status.st_atime_ns, status.st_mtime_ns)
    return Metadata(status.st_mode, status.st_uid, status.st_gid, times, attributes)


def dress(directory: Directory, wanted: Metadata) -> None:
    """Give an open directory these metadata, and no others."""
    now = directory.stat()
    if (now.st_uid, now.st_gid) != (wanted.uid, wanted.gid):
        os.fchown(directory.fd, wanted.uid, wanted.gid)
    set_xattrs(directory, wanted.xattrs, xattrs.read_fd(directory.fd))
    os.fchmod(directory.fd, stat.S_IMODE(wanted.mode))
    set_times(directory, wanted.times_ns)


def make_node(directory: Directory, name: bytes, wanted: Metadata) -> None:
    """Make a device 0:0 with these metadata."""
    make_whiteout(directory, name)
    directory.chown(name, wanted.uid, wanted.gid)
    for attribute, value in wanted.xattrs.items():
        xattrs.set_at(directory.fd, name, attribute, value)
    directory.chmod(name, stat.S_IMODE(wanted.mode))
    directory.set_times(name, *wanted.times_ns)


def refuse_frozen(directory: Directory, name: bytes) -> None:
    """Raise `LayerError` if a directory may not be changed (``chattr +i`` or ``+a``)."""
    try:
        found = fcntl.ioctl(directory.fd, _GETFLAGS, bytes(struct.calcsize("l")))
    except OSError as err:
        if err.errno in _NO_FLAGS:
            return
        raise
    if struct.unpack("l", found)[0] & _FROZEN:
        raise LayerError(
            f"the directory {os.fsdecode(name or b'/')!r} is immutable or append-only",
            resolution="Find it with `lsattr -dR` in the layer's tree and run `chattr -i -a` on "
            "it, or migrate side by side.",
        )
