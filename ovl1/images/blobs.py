"""The files of an archive of images, by name: the members of a tar, or an OCI layout's directory.

Both are hostile: names lead nowhere outside, links are followed within the archive only, what is
not a regular file is refused, and small files are small. Readers are independent of each other,
also across threads and forked processes.
"""

from __future__ import annotations

import abc
import io
import os
import posixpath
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Optional, Tuple

from ovl1.closing import Closing
from ovl1.errors import ArchiveError
from ovl1.formats import tarheader, tarindex
from ovl1.formats.whiteouts import clean, shown
from ovl1.linux.beneath import Directory, split
from ovl1.tree.resolve import resolve

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LARGEST_DOCUMENT = 16 << 20
"""Bytes of a manifest or a configuration; Docker takes 4 MiB from a registry."""

_BUFFER = 1 << 20
_FOLLOWED = 40
_LINKS = (tarheader.SYMLINK, tarheader.HARDLINK)
_REGULAR = (tarheader.FILE, "7")


class Blobs(Closing):
    """The files of one archive; a context manager."""

    @abc.abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""

    @abc.abstractmethod
    def open(self, name: str) -> BinaryIO:
        """The file, from its start; the caller closes it.

        Raises:
            ArchiveError: there is none, or it is no regular file.
        """

    def document(self, name: str) -> bytes:
        """The whole of a small file.

        Raises:
            ArchiveError: there is none, or it is too big for what it claims to be.
        """
        with self.open(name) as file:
            content = file.read(LARGEST_DOCUMENT + 1)
        if len(content) > LARGEST_DOCUMENT:
            raise ArchiveError(f"{name!r} is too big: more than {LARGEST_DOCUMENT} bytes")
        return content


class TarBlobs(Blobs):
    """The members of a tar archive.

    Args:
        file: seekable and open as long as this is used; stays the caller's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self._members = tarindex.index(file)

    def close(self) -> None:
        """Nothing to close; idempotent."""

    def exists(self, name: str) -> bool:
        """See `Blobs.exists`."""
        return clean(os.fsencode(name)) in self._members

    def open(self, name: str) -> BinaryIO:
        """See `Blobs.open`."""
        member = self._find(name)
        section = _Section(self._fd, member.offset, member.size)
        return io.BufferedReader(section, _BUFFER)

    def _find(self, name: str) -> tarindex.Member:
        at = clean(os.fsencode(name))
        for _ in range(_FOLLOWED):
            member = self._members.get(at)
            if member is None:
                raise _missing(name)
            if member.kind not in _LINKS:
                if member.kind not in _REGULAR:
                    raise _no_file(name)
                return member
            # `docker save` writes a layer that it has written before as a link to it.
            base = posixpath.dirname(at) if member.kind == tarheader.SYMLINK else b""
            at = clean(posixpath.join(base, member.linkname)).lstrip(b"/")
        raise ArchiveError(f"{shown(os.fsencode(name))} is a link that leads nowhere")


class DirectoryBlobs(Blobs):
    """The files below a directory."""

    def __init__(self, path: Path) -> None:
        self._root = Directory.open(path)

    def close(self) -> None:
        """Close the directory; idempotent."""
        self._root.close()

    def exists(self, name: str) -> bool:
        """See `Blobs.exists`."""
        try:
            self.open(name).close()
        except ArchiveError:
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """See `Blobs.open`."""
        try:
            parts = tuple(split(os.fsencode(name)))
            *above, last = resolve(parts, self._link_at)
            with self._root.descend(above) as directory:
                return os.fdopen(directory.open_file(last), "rb", _BUFFER)
        except FileNotFoundError as err:
            raise _missing(name) from err
        except (OSError, ValueError) as err:
            raise _no_file(name) from err

    def _link_at(self, parts: Tuple[bytes, ...]) -> Optional[bytes]:
        with self._root.descend(parts[:-1]) as directory:
            if stat.S_ISLNK(directory.lstat(parts[-1]).st_mode):
                return directory.readlink(parts[-1])
            return None


class _Section(io.RawIOBase):
    """A part of a file, read without moving anybody else's place in it."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self._at = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._at]
        if not view:
            return 0
        done = os.preadv(self._fd, [view], self._at)
        if not done:
            raise ArchiveError("the archive became shorter while it was read")
        self._at += done
        return done


def _missing(name: str) -> ArchiveError:
    return ArchiveError(
        f"the archive has no {shown(os.fsencode(name))}",
        details="Its manifest names that file.",
        resolution="Copy or make the archive again.",
    )


def _no_file(name: str) -> ArchiveError:
    return ArchiveError(f"{shown(os.fsencode(name))} in the archive is no regular file")
