"""Directories by file descriptor: nothing below a root is ever reached through a path string.

A `Directory` is opened component by component with ``O_NOFOLLOW``; each operation takes one name,
as ``bytes``, in that directory. So no symbolic link that an image or a container made can lead
outside, whatever is renamed meanwhile. Names with a slash, ``.`` and ``..`` are refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import ContextManager, Dict, Iterable, Iterator, List, NamedTuple, Tuple

from ovl1.closing import Closing

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_ENCODING = sys.getfilesystemencoding()

# Too many names already; immutable, or not allowed; another project's quota, or another mount.
_NO_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV)

DIR, FILE, LINK, SPECIAL = "dir", "file", "symlink", "special"


class Name(NamedTuple):
    """One directory entry as ``getdents64`` gives it: no ``stat`` was needed."""

    name: bytes
    inode: int
    kind: str
    """`DIR`, `FILE`, `LINK`, or `SPECIAL` for a fifo, a socket or a device."""


class Linked(NamedTuple):
    """What `Directory.link_all_from` did, and what it left to do."""

    linked: int
    """How many names were made."""
    subdirectories: List[bytes]
    refused: Dict[bytes, int]
    """The names that cannot be linked, each with the number of the error."""


class Directory(Closing):
    """An open directory; a context manager."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open a directory at a path that we (not an image) chose; its last part is no link."""
        return cls(os.open(path, _OPEN_DIR))

    def close(self) -> None:
        """Close it; idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def child(self, name: bytes) -> Directory:
        """Open the sub-directory `name`; ``ENOTDIR`` or ``ELOOP`` if it is something else."""
        return Directory(_os_open(checked(name), _OPEN_DIR, self.fd))

    def descend(self, parts: Iterable[bytes]) -> Directory:
        """Open the directory at `parts` below this one; with no parts, this one again."""
        here = Directory(os.open(".", _OPEN_DIR, dir_fd=self.fd))
        for part in parts:
            with here:
                below = here.child(part)
            here = below
        return here

    def names(self) -> List[Name]:
        """The entries, unsorted, without ``.`` and ``..``."""
        found = []
        # A NamedTuple's own constructor takes longer than the kernel does for an entry.
        make = tuple.__new__
        with _scan(self.fd) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    kind = FILE
                elif entry.is_dir(follow_symlinks=False):
                    kind = DIR
                elif entry.is_symlink():
                    kind = LINK
                else:
                    kind = SPECIAL
                name = entry.name.encode(_ENCODING, "surrogateescape")
                found.append(make(Name, (name, entry.inode(), kind)))
        return found

    def stat(self) -> os.stat_result:
        """This directory's own metadata."""
        return os.fstat(self.fd)

    def lstat(self, name: bytes) -> os.stat_result:
        """Metadata of the entry `name` itself."""
        return os.stat(checked(name), dir_fd=self.fd, follow_symlinks=False)

    def exists(self, name: bytes) -> bool:
        """Whether there is an entry `name`, of whatever kind."""
        try:
            self.lstat(name)
        except FileNotFoundError:
            return False
        return True

    def readlink(self, name: bytes) -> bytes:
        """The target of the symbolic link `name`."""
        return os.readlink(checked(name), dir_fd=self.fd)

    def open_file(self, name: bytes, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """Open the regular file `name` and return its descriptor.

        Anything else (a fifo would block, a device would act) is ``OSError``.
        """
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = _os_open(checked(name), flags, self.fd, mode)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(22, "not a regular file", os.fsdecode(name))
        return fd

    @contextlib.contextmanager
    def reading(self, name: bytes) -> Iterator[int]:
        """`open_file` for reading, closed at the end."""
        fd = self.open_file(name)
        try:
            yield fd
        finally:
            os.close(fd)

    def mkdir(self, name: bytes, mode: int = 0o700) -> None:
        """Make a directory; the mode is the umask's victim, so set it afterwards."""
        os.mkdir(checked(name), mode, dir_fd=self.fd)

    def symlink(self, target: bytes, name: bytes) -> None:
        """Make a symbolic link with any target."""
        os.symlink(target, checked(name), dir_fd=self.fd)

    def mknod(self, name: bytes, mode: int, device: int = 0) -> None:
        """Make a fifo, a socket, a device or an empty file; `mode` carries the type."""
        os.mknod(checked(name), mode, device, dir_fd=self.fd)

    def lends(self, name: bytes) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the inode `name` is all of the entry, so that a further name of it is as good."""
        return True

    def link_from(self, source: Directory, source_name: bytes, name: bytes) -> None:
        """Give the inode `source_name` of `source` a second name here; links are not followed.

        ``EXDEV`` if the source does not lend it.
        """
        if not source.lends(source_name):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(source_name))
        os.link(
            checked(source_name),
            checked(name),
            src_dir_fd=source.fd,
            dst_dir_fd=self.fd,
            follow_symlinks=False,
        )

    def link_all_from(self, source: Directory) -> Linked:
        """Link all that `source` has but directories under the same names; as fast as Python can.

        Raises:
            OSError: anything but the three errors with which a single inode refuses.
        """
        link, here, there = os.link, self.fd, source.fd
        linked = 0
        subdirectories: List[bytes] = []
        refused: Dict[bytes, int] = {}
        # The names go from kernel to kernel as `str`: neither checked nor encoded by us.
        with _scan(there) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    subdirectories.append(_encoded(name))
                    continue
                try:
                    link(name, name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
                    linked += 1
                except OSError as err:
                    if err.errno not in _NO_LINK:
                        raise
                    refused[_encoded(name)] = err.errno or 0
        return Linked(linked, subdirectories, refused)

    def unlink_all(self) -> Tuple[int, List[bytes]]:
        """Remove all names but those of directories; as fast as Python can.

        Returns:
            How many were removed, and the directories' names.
        """
        unlink, here = os.unlink, self.fd
        subdirectories: List[str] = []
        others: List[str] = []
        # All read before the first goes: what readdir gives after a removal is unspecified.
        with _scan(here) as entries:
            for entry in entries:
                is_dir = entry.is_dir(follow_symlinks=False)
                (subdirectories if is_dir else others).append(entry.name)
        for name in others:
            unlink(name, dir_fd=here)
        return len(others), [_encoded(name) for name in subdirectories]

    def unlink(self, name: bytes) -> None:
        """Remove a name that is not a directory."""
        os.unlink(checked(name), dir_fd=self.fd)

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory."""
        os.rmdir(checked(name), dir_fd=self.fd)

    def chown(self, name: bytes, uid: int, gid: int) -> None:
        """Set the owner of the entry itself; this clears setuid bits, so chmod comes after."""
        os.chown(checked(name), uid, gid, dir_fd=self.fd, follow_symlinks=False)

    def chmod(self, name: bytes, mode: int) -> None:
        """Set permission bits; must not be called on a symbolic link, which would be followed."""
        os.chmod(checked(name), mode, dir_fd=self.fd)

    def set_times(self, name: bytes, atime_ns: int, mtime_ns: int) -> None:
        """Set access and modification time of the entry itself, in nanoseconds since 1970."""
        os.utime(checked(name), ns=(atime_ns, mtime_ns), dir_fd=self.fd, follow_symlinks=False)


def _scan(fd: int) -> ContextManager[Iterator[os.DirEntry[str]]]:
    """Read a directory from its beginning, as it is now.

    btrfs lists what there was when the directory was opened or last rewound, nothing younger
    (since Linux 6.5: "btrfs: fix infinite directory reads").
    """
    os.lseek(fd, 0, os.SEEK_SET)
    return os.scandir(fd)


def checked(name: bytes) -> bytes:
    """`name` if it is one path component, else ``ValueError``: it came from outside."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError(f"{name!r} is not a file name")
    return name


def split(path: bytes) -> List[bytes]:
    """The components of a relative path as an image writes it: ``./a//b/`` is ``[a, b]``.

    Raises:
        ValueError: it holds ``..`` or a NUL byte.
    """
    return [checked(part) for part in path.split(b"/") if part not in (b"", b".")]


def _encoded(name: str) -> bytes:
    return name.encode(_ENCODING, "surrogateescape")


def _os_open(name: bytes, flags: int, dir_fd: int, mode: int = 0o600) -> int:
    return os.open(name, flags, mode, dir_fd=dir_fd)
