"""Data that a tar brings early and that are needed late, kept in a file without a name.

The file lies in the tree's own file system, which has room for a layer, and is gone whatever
happens to the process.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from typing import Dict, Iterable, Iterator, Optional, Tuple

from ovl1.closing import Closing
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.tarstream import CHUNK
from ovl1.linux.beneath import Directory

_RECORD = struct.Struct("<qqI")
# Old kernels and file systems take O_TMPFILE for what it contains: O_DIRECTORY.
_NO_TMPFILE = (errno.EISDIR, errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL)


def nameless_file(directory: Directory) -> int:
    """Open a new file for reading and writing that has no name in `directory`."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory.fd)
    except OSError as err:
        if err.errno not in _NO_TMPFILE:
            raise
    name = b".ovl1-" + os.urandom(16).hex().encode()
    fd = directory.open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    directory.unlink(name)
    return fd


class Spool(Closing):
    """A file that is made when it is first written to; a context manager."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._fd = -1
        self.size = 0

    def close(self) -> None:
        """Give the space back; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, data: bytes) -> None:
        """Write at the end."""
        if self._fd < 0:
            self._fd = nameless_file(self._directory)
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, self.size)
            self.size += done
            view = view[done:]

    def read(self, start: int, size: int) -> Iterator[bytes]:
        """What was written there, in chunks."""
        end = start + size
        while start < end:
            chunk = os.pread(self._fd, min(CHUNK, end - start), start)
            if not chunk:
                raise OSError(errno.EIO, "a file without a name has lost its end")
            start += len(chunk)
            yield chunk


class DirectoryTimes(Closing):
    """Times that directories get when all is unpacked; a context manager."""

    def __init__(self, directory: Directory) -> None:
        self._spool = Spool(directory)
        self._recent = bytearray()

    def close(self) -> None:
        """Forget all; idempotent."""
        self._spool.close()

    def add(self, path: bytes, times: Tuple[int, int]) -> None:
        """Remember access and modification time of a directory, in nanoseconds."""
        self._recent += _RECORD.pack(*times, len(path))
        self._recent += path
        if len(self._recent) > CHUNK:
            self._spool.append(bytes(self._recent))
            self._recent.clear()

    def __iter__(self) -> Iterator[Tuple[bytes, Tuple[int, int]]]:
        pending = bytearray()
        for chunk in itertools.chain(self._spool.read(0, self._spool.size), [bytes(self._recent)]):
            pending += chunk
            at = 0
            while len(pending) - at >= _RECORD.size:
                atime, mtime, length = _RECORD.unpack_from(pending, at)
                end = at + _RECORD.size + length
                if end > len(pending):
                    break
                yield bytes(pending[end - length : end]), (atime, mtime)
                at = end
            del pending[:at]


class PlnkFiles(Closing):
    """Files that AUFS kept in ``.wh..wh.plnk`` for hard links to point to; a context manager."""

    def __init__(self, directory: Directory) -> None:
        self._spool = Spool(directory)
        self._kept: Dict[bytes, Tuple[TarEntry, int, int]] = {}

    def close(self) -> None:
        """Forget them; idempotent."""
        self._spool.close()

    def keep(self, name: bytes, entry: TarEntry, content: Iterable[bytes]) -> None:
        """Keep the file `name`; a second one of that name takes its place."""
        start = self._spool.size
        for chunk in content:
            self._spool.append(chunk)
        self._kept[name] = (entry, start, self._spool.size - start)

    def get(self, name: bytes) -> Optional[Tuple[TarEntry, Iterator[bytes]]]:
        """The file's header and content, None if there was no such file."""
        found = self._kept.get(name)
        if found is None:
            return None
        entry, start, size = found
        return entry, self._spool.read(start, size)
