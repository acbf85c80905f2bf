"""A layer's original tar, bit for bit: tar-split has all but the contents, a tree has those.

What Docker does in ``docker save`` (github.com/vbatts/tar-split, ``tar/asm``), and with the same
check: size and CRC-64 of every file. Docker finds a file by joining its name to the mounted
layer's path, so symbolic links in the *parents* of a name are followed here, too, but never out of
the tree; the file itself must be a regular file.
"""

from __future__ import annotations

import abc
import errno
import hashlib
import os
from typing import Iterable, Iterator, List, NamedTuple, Optional, Protocol, Sequence

from ovl1.closing import Closing
from ovl1.errors import LayerError
from ovl1.formats.tarsplit import NO_CONTENT, Entry, FileEntry, Raw, crc64
from ovl1.formats.tarstream import CHUNK
from ovl1.formats.whiteouts import Parts, components, shown
from ovl1.linux.beneath import LINK, Directory
from ovl1.model import DiffId
from ovl1.tree.resolve import resolve
from ovl1.tree.view import Cursor

# EINVAL: there is something, but no regular file. ELOOP: a symbolic link, or too many of them.
_NOT_THERE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENXIO,
    errno.ENAMETOOLONG,
)


class Contents(Protocol):
    """Where the bytes of a layer's files come from."""

    def open(self, parts: Sequence[bytes]) -> int:
        """A descriptor of the regular file at `parts`, which the caller closes.

        Raises:
            OSError: there is no such file.
        """


class Problem(NamedTuple):
    """Why a layer's tar cannot be re-assembled."""

    name: bytes
    """The file, as the tar names it; empty if it is none in particular."""
    brief: str


def reassemble(entries: Iterable[Entry], contents: Contents) -> Iterator[bytes]:
    """The layer's tar, in chunks of at most 1 MiB.

    Args:
        entries: from `ovl1.formats.tarsplit.read`.
        contents: the view of the layer (with its parents, not only its own changes).

    Raises:
        LayerError: a file is absent, or not what it was; names it. Its bytes may already have
            been yielded then.
    """
    for entry in entries:
        yield from _chunks(entry, contents)


def length(entries: Iterable[Entry]) -> int:
    """Bytes of the tar that `reassemble` gives; no content is looked at."""
    return sum(
        len(entry.payload)
        if isinstance(entry, Raw)
        else (entry.size if entry.crc64 != NO_CONTENT else 0)
        for entry in entries
    )


def diff_id(entries: Iterable[Entry], contents: Contents) -> DiffId:
    """SHA-256 of the re-assembled tar; arguments and errors as for `reassemble`."""
    digest = hashlib.sha256()
    for chunk in reassemble(entries, contents):
        digest.update(chunk)
    return _diff_id(digest.hexdigest())


def check(
    entries: Iterable[Entry], contents: Contents, expected: Optional[DiffId] = None
) -> List[Problem]:
    """Everything that keeps the tar from being re-assembled; an empty list is a proof.

    Args:
        entries: from `ovl1.formats.tarsplit.read`.
        contents: the view of the layer.
        expected: what the whole must be; left out, only the single files are checked.

    Raises:
        LayerError: tar-split itself is damaged.
    """
    problems = []
    digest = hashlib.sha256()
    for entry in entries:
        try:
            for chunk in _chunks(entry, contents):
                digest.update(chunk)
        except LayerError as err:
            problems.append(Problem(entry.name if isinstance(entry, FileEntry) else b"", err.brief))
    found = _diff_id(digest.hexdigest())
    if expected is not None and not problems and found != expected:
        problems.append(Problem(b"", f"the layer's tar is {found}, not {expected}"))
    return problems


class _Following(abc.ABC):
    """Contents whose names may lead over symbolic links: tried as they are, then resolved."""

    def open(self, parts: Sequence[bytes]) -> int:
        """See `Contents.open`."""
        if not parts:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), ".")
        plain = tuple(parts)
        try:
            return self._open(plain)
        except OSError as err:
            if err.errno not in _NOT_THERE:
                raise
            resolved = (*resolve(plain[:-1], self._link_at), plain[-1])
            if resolved == plain:
                raise
        return self._open(resolved)

    @abc.abstractmethod
    def _open(self, parts: Parts) -> int: ...

    @abc.abstractmethod
    def _link_at(self, parts: Parts) -> Optional[bytes]: ...


class TreeContents(_Following, Closing):
    """The files of one complete tree: a v1 layer's ``root``; a context manager.

    Args:
        root: stays open, and the caller's.
    """

    def __init__(self, root: Directory) -> None:
        self._root = root
        # A tar names the files of a directory one after the other.
        self._here = root.descend(())
        self._at: Parts = ()

    def close(self) -> None:
        """Close what it has opened itself; idempotent."""
        self._here.close()

    def _open(self, parts: Parts) -> int:
        return self._go(parts[:-1]).open_file(parts[-1])

    def _link_at(self, parts: Parts) -> Optional[bytes]:
        try:
            return self._go(parts[:-1]).readlink(parts[-1])
        except OSError as err:
            if err.errno == errno.EINVAL:
                return None
            raise

    def _go(self, parts: Parts) -> Directory:
        if parts != self._at:
            there = self._root.descend(parts)
            self._here.close()
            self._here, self._at = there, parts
        return self._here


class ViewContents(_Following):
    """The files of a merged view: an overlay2 stack, or a layer that BuildKit made for v1."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def _open(self, parts: Parts) -> int:
        return self._cursor.open(parts)

    def _link_at(self, parts: Parts) -> Optional[bytes]:
        try:
            here = self._cursor.at(parts[:-1])
            found = here.entries[parts[-1]]
        except KeyError as err:
            name = os.fsdecode(b"/".join(parts))
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from err
        return here.layer_of(found).readlink(parts[-1]) if found.kind == LINK else None


def _chunks(entry: Entry, contents: Contents) -> Iterator[bytes]:
    if isinstance(entry, Raw):
        for start in range(0, len(entry.payload), CHUNK):
            yield entry.payload[start : start + CHUNK]
    elif entry.size and entry.crc64 != NO_CONTENT:
        fd = _open(entry.name, contents)
        try:
            yield from _verified(fd, entry)
        finally:
            os.close(fd)


def _open(name: bytes, contents: Contents) -> int:
    try:
        return contents.open(components(name))
    except OSError as err:
        if err.errno not in _NOT_THERE:
            raise
        raise LayerError(
            f"the layer's file {shown(name)} is not in its tree",
            details=f"{err.strerror}: so the layer's tar cannot be re-assembled; "
            "docker save of its images fails as well.",
        ) from err


def _verified(fd: int, entry: FileEntry) -> Iterator[bytes]:
    left, checksum = entry.size, crc64(b"")
    if os.fstat(fd).st_size == left:
        while left:
            chunk = os.read(fd, min(CHUNK, left))
            if not chunk:
                break
            left -= len(chunk)
            checksum = crc64(chunk, checksum)
            yield chunk
    if left or checksum.to_bytes(8, "big") != entry.crc64:
        raise LayerError(
            f"content of {shown(entry.name)} does not match what the layer had",
            details=f"Recorded: {entry.size} bytes, CRC-64 {entry.crc64.hex()}.",
            resolution="Pull or load the image again, or remove it.",
        )


def _diff_id(digest: str) -> DiffId:
    return DiffId(f"sha256:{digest}")
