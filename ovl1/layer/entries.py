"""Making single entries of a layer's tar in a tree whose inodes may be shared with other layers.

The law: an inode that this layer did not make is never written to, nor are its metadata set. Where
the tar has a hard link to an inherited file and other metadata for it, Docker changes the parent
layer; here the file is copied first, and both names become names of the copy.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable, Dict, Set, Tuple

from ovl1.errors import LayerError
from ovl1.formats import tarheader, whiteouts
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.tarstream import Content
from ovl1.formats.whiteouts import shown
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory
from ovl1.tree.compare import visible_xattrs
from ovl1.tree.copy import copy_content

_NODES = {
    tarheader.CHAR: stat.S_IFCHR,
    tarheader.BLOCK_DEVICE: stat.S_IFBLK,
    tarheader.FIFO: stat.S_IFIFO,
}
_NO_LINK = (errno.EMLINK, errno.EPERM)
_NO_XATTR = (errno.ENOTSUP, errno.EPERM)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_TIME_END = 1 << 63  # nanoseconds that Go can count


class EntryMaker:
    """Makes entries below one root, and remembers which inodes are the layer's own."""

    def __init__(self, root: Directory) -> None:
        self._root = root
        self._own: Set[int] = set()
        self._lost: Dict[str, str] = {}

    @property
    def warnings(self) -> Tuple[str, ...]:
        """What could not be kept: a line for each attribute that was refused."""
        return tuple(self._lost.values())

    def make(self, here: Directory, name: bytes, entry: TarEntry, content: Content) -> None:
        """Make the non-directory `entry` under a free name.

        Raises:
            LayerError: the entry cannot be represented, or is a link to what is not there.
        """
        if entry.kind == tarheader.FILE:
            _write(here, name, content)
        elif entry.kind == tarheader.SYMLINK:
            if not entry.linkname:
                raise LayerError(f"the symbolic link {shown(entry.name)} has no target")
            here.symlink(entry.linkname, name)
        elif entry.kind in _NODES:
            here.mknod(name, _NODES[entry.kind] | 0o600, _device(entry))
        elif entry.kind == tarheader.HARDLINK:
            if self._link(here, name, entry):
                return
        else:
            raise LayerError(f"{shown(entry.name)} is of unknown type {entry.kind!r}")
        self._own.add(here.lstat(name).st_ino)
        self._dress(here, name, entry)

    def dress_directory(self, directory: Directory, entry: TarEntry) -> None:
        """Give an open directory the metadata of its entry, all but the times."""
        os.fchown(directory.fd, *_owner(entry))
        self._set_xattrs(entry, lambda key, value: xattrs.set_fd(directory.fd, key, value))
        os.fchmod(directory.fd, _mode(entry))

    def _dress(self, here: Directory, name: bytes, entry: TarEntry) -> None:
        # In this order: chown drops capabilities and setuid bits.
        here.chown(name, *_owner(entry))
        self._set_xattrs(entry, lambda key, value: xattrs.set_at(here.fd, name, key, value))
        if not stat.S_ISLNK(here.lstat(name).st_mode):
            here.chmod(name, _mode(entry))
            here.set_times(name, *_times(entry))
        elif entry.kind == tarheader.SYMLINK:
            here.set_times(name, *_link_times(entry))

    def _set_xattrs(self, entry: TarEntry, set_one: Callable[[str, bytes], None]) -> None:
        for key, value in entry.xattrs.items():
            try:
                set_one(key, value)
            except OSError as err:
                if err.errno not in _NO_XATTR:
                    raise
                self._lost.setdefault(
                    key, f"{key} was not set, first on {shown(entry.name)}: {err.strerror}"
                )

    def _link(self, here: Directory, name: bytes, entry: TarEntry) -> bool:
        """Make a hard link; True if it shares the parent layer's inode and needs no metadata."""
        target = whiteouts.classify(entry.linkname)
        if not isinstance(target, whiteouts.Plain) or not target.parts:
            raise LayerError(f"{shown(entry.name)} is a hard link to {shown(entry.linkname)}")
        try:
            with self._root.descend(target.parts[:-1]) as there:
                return self._link_to(there, target.parts[-1], here, name, entry)
        except OSError as err:
            if err.errno not in _NOT_THERE:
                raise
            raise LayerError(
                f"{shown(entry.name)} is a hard link to {shown(entry.linkname)}, which is not there"
            ) from err

    def _link_to(
        self, there: Directory, target: bytes, here: Directory, name: bytes, entry: TarEntry
    ) -> bool:
        status = there.lstat(target)
        if stat.S_ISDIR(status.st_mode):
            raise LayerError(f"{shown(entry.name)} is a hard link to a directory")
        own = status.st_ino in self._own
        if own or _is_dressed(there, target, status, entry):
            try:
                here.link_from(there, target, name)
                return not own
            except OSError as err:
                if err.errno not in _NO_LINK:
                    raise
        _copy(there, target, status, here, name)
        there.unlink(target)
        there.link_from(here, name, target)
        return False


def directory_times(entry: TarEntry) -> Tuple[int, int]:
    """Access and modification time in nanoseconds that a directory's entry asks for."""
    return _clamped(entry.atime_ns or 0), _clamped(entry.mtime_ns)


def _write(here: Directory, name: bytes, content: Content) -> None:
    fd = here.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for chunk in content:
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def _copy(
    there: Directory, target: bytes, status: os.stat_result, here: Directory, name: bytes
) -> None:
    """Make `name` an inode of its own, like `target` but for what `_dress` sets."""
    if stat.S_ISREG(status.st_mode):
        with there.reading(target) as source:
            fd = here.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                copy_content(source, fd, status.st_size)
            finally:
                os.close(fd)
    elif stat.S_ISLNK(status.st_mode):
        here.symlink(there.readlink(target), name)
        here.set_times(name, status.st_atime_ns, status.st_mtime_ns)
    else:
        here.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    for key, value in visible_xattrs(xattrs.read_at(there.fd, target)).items():
        # A capability does not survive the chown that follows: neither does it in Docker.
        xattrs.set_at(here.fd, name, key, value)


def _is_dressed(there: Directory, name: bytes, status: os.stat_result, entry: TarEntry) -> bool:
    """Whether an existing inode already has all metadata that a hard link's entry asks for."""
    if (status.st_uid, status.st_gid) != _owner(entry):
        return False
    if not stat.S_ISLNK(status.st_mode):
        wanted = (_mode(entry), _times(entry)[1])
        if (stat.S_IMODE(status.st_mode), status.st_mtime_ns) != wanted:
            return False
    if not entry.xattrs:
        return True
    attributes = xattrs.read_at(there.fd, name)
    return all(attributes.get(key) == value for key, value in entry.xattrs.items())


def _mode(entry: TarEntry) -> int:
    return entry.mode & 0o7777


def _owner(entry: TarEntry) -> Tuple[int, int]:
    # The last number means "leave as it is" to chown.
    if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
        raise LayerError(
            f"{shown(entry.name)} has an owner that cannot be: {entry.uid}:{entry.gid}"
        )
    return entry.uid, entry.gid


def _device(entry: TarEntry) -> int:
    if entry.kind == tarheader.FIFO:
        return 0
    if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
        raise LayerError(
            f"{shown(entry.name)} is a device that cannot be: {entry.major}:{entry.minor}"
        )
    return os.makedev(entry.major, entry.minor)


def _times(entry: TarEntry) -> Tuple[int, int]:
    atime = max(entry.mtime_ns, entry.mtime_ns if entry.atime_ns is None else entry.atime_ns)
    return _clamped(atime), _clamped(entry.mtime_ns)


def _link_times(entry: TarEntry) -> Tuple[int, int]:
    # Docker clamps the times of everything but symbolic links.
    mtime = entry.mtime_ns if -_TIME_END <= entry.mtime_ns < _TIME_END else 0
    return max(_times(entry)[0], mtime), mtime


def _clamped(time_ns: int) -> int:
    return time_ns if 0 <= time_ns < _TIME_END else 0
