"""Making single entries of a layer's tar in a tree whose inodes may be shared with other layers.

The law: an inode that this layer did not make is never written to, nor are its metadata set. Where
the tar has a hard link to an inherited file and other metadata for it, Docker changes the parent
layer; here the file is copied first, and both names become names of the copy.

Metadata are set in the order owner, attributes, permissions, times: chown drops capabilities and
setuid bits. Attributes that the file system does not have are left out and reported, as by Docker.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable, Dict, Iterable, Tuple

from ovl1.errors import LayerError
from ovl1.formats import tarheader, whiteouts
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.whiteouts import Parts, shown
from ovl1.layer.apply_tree import Tree
from ovl1.layer.policy import Policy
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory, checked
from ovl1.tree.compare import visible_xattrs
from ovl1.tree.copy import copy_content
from ovl1.tree.marks import PRIVATE_PREFIX

_NODES = {
    tarheader.CHAR: stat.S_IFCHR,
    tarheader.BLOCK_DEVICE: stat.S_IFBLK,
    tarheader.FIFO: stat.S_IFIFO,
}
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINK = (errno.EMLINK, errno.EPERM)
_NO_XATTR = (errno.ENOTSUP, errno.EPERM)
_BAD_XATTR = (errno.EINVAL, errno.ERANGE, errno.E2BIG)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
_REPLACED = ("user.", "trusted.", "security.capability", "system.posix_acl_")
"""Attributes that belong to an image, and not to the file system or its policy."""
_TIME_END = 1 << 63  # nanoseconds that Go can count
_MOST_WARNINGS = 100

Times = Tuple[int, int]


class EntryMaker:
    """Makes entries at the current place of a tree."""

    def __init__(self, tree: Tree, policy: Policy) -> None:
        self._tree = tree
        self._policy = policy
        self._lost: Dict[str, str] = {}
        self._last = (-1, -1), (-1, -1)

    @property
    def warnings(self) -> Tuple[str, ...]:
        """What could not be kept: a line for each attribute that was refused, up to a hundred."""
        return tuple(self._lost.values())

    def make(self, name: bytes, entry: TarEntry, content: Iterable[bytes]) -> None:
        """Make a file, a symbolic link or a special file, in the place of what is there.

        Raises:
            LayerError: the entry cannot be represented.
        """
        self._check(entry)
        try:
            self._make(name, entry, content)
        except FileExistsError:
            self._tree.vacate(name)
            self._make(name, entry, content)

    def dress_directory(self, directory: Directory, entry: TarEntry) -> None:
        """Give an open directory the metadata of its entry, all but the times."""
        self._check(entry)
        os.fchown(directory.fd, *self._owner(entry))
        # An entry replaces the attributes of a directory that is there (OCI image-spec, layer.md).
        for key in xattrs.read_fd(directory.fd).keys() - entry.xattrs.keys():
            if key.startswith(_REPLACED) and not key.startswith(PRIVATE_PREFIX):
                xattrs.remove_fd(directory.fd, key)
        self._set_xattrs(entry, lambda key, value: xattrs.set_fd(directory.fd, key, value))
        os.fchmod(directory.fd, _mode(entry))

    def link(self, parts: Parts, entry: TarEntry) -> None:
        """Make the hard link `entry` at `parts`, in the place of what is there.

        Its target is looked up from the root, above which ``..`` does not lead, as in a chroot.

        Raises:
            LayerError: the target is not there, a directory, or the link itself.
        """
        self._check(entry)
        target = whiteouts.components(b"/" + entry.linkname)
        try:
            if not target:
                raise IsADirectoryError(errno.EISDIR, "the root")
            self._tree.reach(target[:-1], imply=False)
            self._tree.bring(target[-1])
            found = self._tree.path_of(target[-1])
            with self._tree.here.descend(()) as there:
                self._tree.reach(parts[:-1])
                path = self._tree.path_of(parts[-1])
                if (found + b"/").startswith(path + b"/"):
                    raise FileNotFoundError(errno.ENOENT, "it would replace its own target")
                self._link(_Target(there, target[-1], found), parts[-1], entry)
        except OSError as err:
            if err.errno not in _NOT_THERE:
                raise
            raise LayerError(
                f"{shown(entry.name)} is a hard link to {shown(entry.linkname)}, "
                "which is not there or a directory"
            ) from err

    def _owner(self, entry: TarEntry) -> Tuple[int, int]:
        """See `Policy.owner`; most entries have the owner of the one before."""
        named = entry.uid, entry.gid
        if named != self._last[0]:
            self._last = named, self._policy.owner(entry)
        return self._last[1]

    def _check(self, entry: TarEntry) -> None:
        """Refuse what overlay cannot represent."""
        if entry.kind == tarheader.CHAR and entry.major == entry.minor == 0:
            raise LayerError(
                f"{shown(entry.name)} is a character device 0:0",
                details="In an overlay that is a whiteout: no mount could show it.",
            )
        for key in entry.xattrs:
            if key.startswith(PRIVATE_PREFIX):
                raise LayerError(
                    f"{shown(entry.name)} has the attribute {key}",
                    details="It belongs to overlayfs: an image that sets it can hide files, "
                    "redirect directories, or break the mount.",
                )

    def _make(self, name: bytes, entry: TarEntry, content: Iterable[bytes]) -> None:
        here = self._tree.here
        if entry.kind == tarheader.FILE:
            self._tree.unpacked.add(self._write(here, name, entry, content))
            return
        if entry.kind == tarheader.SYMLINK:
            if not entry.linkname:
                raise LayerError(f"the symbolic link {shown(entry.name)} has no target")
            here.symlink(entry.linkname, name)
        elif entry.kind in _NODES:
            here.mknod(name, _NODES[entry.kind] | 0o600, _device(entry))
        else:
            raise LayerError(f"{shown(entry.name)} is of unknown type {entry.kind!r}")
        self._tree.unpacked.add(self._dress(here, name, entry))

    def _write(
        self, here: Directory, name: bytes, entry: TarEntry, content: Iterable[bytes]
    ) -> int:
        """Make a regular file; its inode number."""
        mode = _mode(entry)
        # Mostly that is it already; what the umask or a default ACL makes of it is seen below.
        fd = os.open(checked(name), _CREATE, mode & 0o777, dir_fd=here.fd)
        try:
            status = os.fstat(fd)
            for chunk in content:
                done = os.write(fd, chunk)
                while done < len(chunk):
                    done += os.write(fd, memoryview(chunk)[done:])
            owner = self._owner(entry)
            if (status.st_uid, status.st_gid) != owner:
                os.fchown(fd, *owner)
            if entry.xattrs:
                self._set_xattrs(entry, lambda key, value: xattrs.set_fd(fd, key, value))
            if stat.S_IMODE(status.st_mode) != mode or entry.xattrs:
                os.fchmod(fd, mode)
            os.utime(fd, ns=_times(entry))
        finally:
            os.close(fd)
        return status.st_ino

    def _dress(self, here: Directory, name: bytes, entry: TarEntry) -> int:
        """Give any other entry its metadata; its inode number."""
        status = here.lstat(name)
        owner = self._owner(entry)
        if (status.st_uid, status.st_gid) != owner:
            here.chown(name, *owner)
        elif stat.S_ISREG(status.st_mode):
            # Docker calls chown always, and that drops capabilities.
            here.chown(name, *owner)
        self._set_xattrs(entry, lambda key, value: xattrs.set_at(here.fd, name, key, value))
        if not stat.S_ISLNK(status.st_mode):
            here.chmod(name, _mode(entry))
            here.set_times(name, *_times(entry))
        elif entry.kind == tarheader.SYMLINK:
            here.set_times(name, *_link_times(entry))
        return status.st_ino

    def _set_xattrs(self, entry: TarEntry, set_one: Callable[[str, bytes], None]) -> None:
        for key, value in entry.xattrs.items():
            try:
                set_one(key, value)
            except OSError as err:
                if err.errno in _BAD_XATTR or self._is_too_large(err):
                    raise LayerError(
                        f"the attribute {key} of {shown(entry.name)} cannot be: {err.strerror}"
                    ) from err
                if err.errno not in _NO_XATTR:
                    raise
                self._lose(key, f"first on {shown(entry.name)}: {err.strerror}")

    def _is_too_large(self, err: OSError) -> bool:
        """Whether there is no space for an attribute although the file system has some."""
        return err.errno == errno.ENOSPC and os.fstatvfs(self._tree.root.fd).f_bavail > 0

    def _lose(self, key: str, where: str) -> None:
        if len(self._lost) < _MOST_WARNINGS:
            self._lost.setdefault(key, f"{key} was not set, {where}")

    def _link(self, target: _Target, name: bytes, entry: TarEntry) -> None:
        try:
            self._link_to(target, name, entry)
        except FileExistsError:
            self._tree.vacate(name)
            self._link_to(target, name, entry)

    def _link_to(self, target: _Target, name: bytes, entry: TarEntry) -> None:
        tree, here = self._tree, self._tree.here
        status = target.directory.lstat(target.name)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a directory")
        inode = status.st_ino
        own = tree.may_change_all or tree.unpacked.is_new(inode)
        if own or self._is_dressed(target, status, entry):
            try:
                here.link_from(target.directory, target.name, name)
            except OSError as err:
                if err.errno not in _NO_LINK:
                    raise
            else:
                tree.unpacked.add_name(inode, tree.path_of(name))
                if own:
                    self._dress(here, name, entry)
                return
        unpacked = tree.unpacked.has(inode, target.path)
        _copy(target, status, here, name)
        target.directory.unlink(target.name)
        target.directory.link_from(here, name, target.name)
        inode = self._dress(here, name, entry)
        if unpacked:
            tree.unpacked.add(inode)
        else:
            tree.unpacked.add_copy(inode, tree.path_of(name))

    def _is_dressed(self, target: _Target, status: os.stat_result, entry: TarEntry) -> bool:
        """Whether an existing inode already has all metadata that a hard link's entry asks for."""
        if (status.st_uid, status.st_gid) != self._owner(entry):
            return False
        if not stat.S_ISLNK(status.st_mode):
            wanted = (_mode(entry), _times(entry)[1])
            if (stat.S_IMODE(status.st_mode), status.st_mtime_ns) != wanted:
                return False
        if not entry.xattrs:
            return True
        attributes = xattrs.read_at(target.directory.fd, target.name)
        return all(attributes.get(key) == value for key, value in entry.xattrs.items())


class _Target:
    """What a hard link points to."""

    def __init__(self, directory: Directory, name: bytes, path: bytes) -> None:
        self.directory = directory
        self.name = name
        self.path = path


def directory_times(entry: TarEntry) -> Times:
    """Access and modification time in nanoseconds that a directory's entry asks for."""
    return _clamped(entry.atime_ns or 0), _clamped(entry.mtime_ns)


def _copy(target: _Target, status: os.stat_result, here: Directory, name: bytes) -> None:
    """Make `name` an inode of its own, like the target but for what `_dress` sets."""
    there = target.directory
    if stat.S_ISREG(status.st_mode):
        with there.reading(target.name) as source:
            fd = os.open(checked(name), _CREATE, 0o600, dir_fd=here.fd)
            try:
                copy_content(source, fd, status.st_size)
            finally:
                os.close(fd)
    elif stat.S_ISLNK(status.st_mode):
        here.symlink(there.readlink(target.name), name)
        here.set_times(name, status.st_atime_ns, status.st_mtime_ns)
    else:
        here.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    for key, value in visible_xattrs(xattrs.read_at(there.fd, target.name)).items():
        # A capability does not survive the chown that follows: neither does it in Docker.
        xattrs.set_at(here.fd, name, key, value)


def _mode(entry: TarEntry) -> int:
    return entry.mode & 0o7777


def _device(entry: TarEntry) -> int:
    if entry.kind == tarheader.FIFO:
        return 0
    if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
        raise LayerError(
            f"{shown(entry.name)} is a device that cannot be: {entry.major}:{entry.minor}"
        )
    return os.makedev(entry.major, entry.minor)


def _times(entry: TarEntry) -> Times:
    mtime = _clamped(entry.mtime_ns)
    if entry.atime_ns is None:
        return mtime, mtime
    return _clamped(max(entry.atime_ns, entry.mtime_ns)), mtime


def _link_times(entry: TarEntry) -> Times:
    # Docker clamps the times of everything but symbolic links.
    mtime = entry.mtime_ns if -_TIME_END <= entry.mtime_ns < _TIME_END else 0
    return max(_times(entry)[0], mtime), mtime


def _clamped(time_ns: int) -> int:
    return time_ns if 0 <= time_ns < _TIME_END else 0
