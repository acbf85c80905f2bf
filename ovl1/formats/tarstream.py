"""A tar archive as a stream of entries, each with a reader for its content.

For archives that may be hostile: nothing is read ahead, no size is believed, memory use does not
depend on the archive. Limits: uncompressed archives only; sparse files are refused, because
Docker cannot re-assemble a layer that has one.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, BinaryIO, Callable, Iterable, Iterator, Tuple

from ovl1.errors import LayerError
from ovl1.formats.tarheader import HeaderParser, TarEntry

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 1 << 20
PIECE = 1 << 17
"""Bytes that pass from hand to hand; more of them would not stay in the processor's cache."""


class Content:
    """The bytes of one entry; of use until the next entry is asked for."""

    def __init__(self, fileobj: BinaryIO, size: int) -> None:
        self._fileobj = fileobj
        self.remaining = size

    def read(self, size: int = CHUNK) -> bytes:
        """At most `size` more bytes; empty at the end of this entry.

        Raises:
            LayerError: the archive ends before the entry does.
        """
        data = self._fileobj.read(min(size, self.remaining))
        if not data and size and self.remaining:
            raise LayerError(
                f"the archive is cut short: {self.remaining} bytes of a file are missing"
            )
        self.remaining -= len(data)
        return data

    def __iter__(self) -> Iterator[bytes]:
        while self.remaining:
            yield self.read()


def entries(fileobj: BinaryIO) -> Iterator[Tuple[TarEntry, Content]]:
    """The entries of the archive that `fileobj` stands at the start of.

    What follows the end of the archive stays unread; a content may be left unread, too.

    Raises:
        LayerError: not a tar archive, cut short, or with a sparse file.
    """
    # Buffered, a file gives less than it is asked for only at its end.
    read: Callable[[int], bytes] = functools.partial(read_full, fileobj)
    if isinstance(fileobj, io.BufferedReader):
        read = fileobj.read
    parser = HeaderParser(read)
    while True:
        entry = parser.next()
        if entry is None:
            return
        refuse_sparse(entry)
        stored = entry.stored
        content = Content(fileobj, stored)
        yield entry, content
        if stored:
            for _ in content:
                pass
            parser.offset += stored + len(read(entry.padding))


def read_full(fileobj: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end of the file: pipes give what they have."""
    data = fileobj.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing:
        data = fileobj.read(missing)
        if not data:
            break
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def refuse_sparse(entry: TarEntry) -> None:
    """Raise `LayerError` if the content of `entry` is not stored as such."""
    if entry.is_sparse:
        raise LayerError(
            f"{entry.name!r} is stored as a sparse file",
            details="Docker cannot re-assemble a layer that holds one.",
            resolution="Pack the archive again without the option --sparse.",
        )


def as_file(chunks: Iterable[bytes]) -> BinaryIO:
    """An iterator of chunks as a file to read from."""
    return io.BufferedReader(_ChunkReader(iter(chunks)), PIECE)


class _ChunkReader(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
