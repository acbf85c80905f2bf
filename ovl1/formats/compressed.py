"""Layers as they are stored elsewhere: gzip, bzip2, xz or zstd, told apart by their first bytes.

Docker's ``DecompressStream`` (``pkg/archive``) knows the same ones. A file may hold several
compressed streams one after the other, and zeros behind the last; anything else there is damage.
Memory use is bounded whatever the data claim: the largest window that is accepted is 128 MiB.
Limits: zstd needs the package ``zstandard``; how much comes out is for the caller to limit.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import re
import zlib
from typing import BinaryIO, Callable, Iterator, Optional, Protocol, Tuple, Type

from ovl1.errors import LayerError, NotPossibleHere
from ovl1.formats.tarstream import PIECE, read_full

_MOST_MEMORY = 128 << 20
_LONGEST_MAGIC = 10
# RFC 8878: four bytes may stand for a block of 128 KiB, and the library gives all of it at once.
_ZSTD_STEP = 1 << 10


class _Decoder(Protocol):
    """One compressed stream."""

    errors: Tuple[Type[Exception], ...]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decompresses to, in pieces of bounded size."""

    @property
    def rest(self) -> Optional[bytes]:
        """What was fed and lies behind the stream's end; None before that."""


def is_compressed(start: bytes) -> bool:
    """Whether data that begin like this would be decompressed; ten bytes are enough."""
    return any(magic.match(start) for _, magic, _ in _FORMATS)


def decompressed(fileobj: BinaryIO) -> Iterator[bytes]:
    """The content of `fileobj` in chunks of at most a few MiB; uncompressed data as they are.

    `fileobj` is read to its end, never backwards.

    Raises:
        LayerError: the data are damaged, or cut short.
        NotPossibleHere: they need a package that is not installed.
    """
    start = read_full(fileobj, _LONGEST_MAGIC)
    for name, magic, make in _FORMATS:
        if magic.match(start):
            yield from _streams(fileobj, start, name, make)
            return
    if start:
        yield start
    yield from iter(lambda: fileobj.read(PIECE), b"")


def _streams(
    fileobj: BinaryIO, data: bytes, name: str, make: Callable[[], _Decoder]
) -> Iterator[bytes]:
    decoder: Optional[_Decoder] = make()
    while data:
        if decoder is None:
            data = data.lstrip(b"\0")
            decoder = make() if data else None
        if decoder is not None:
            yield from _fed(decoder, data, name)
            rest = decoder.rest
            if rest is not None:
                decoder, data = None, rest
                if data:
                    continue
        data = fileobj.read(PIECE)
    if decoder is not None:
        raise LayerError(f"the layer is cut short: its {name} data do not end")


def _fed(decoder: _Decoder, data: bytes, name: str) -> Iterator[bytes]:
    try:
        yield from decoder.feed(data)
    except decoder.errors as err:
        raise LayerError(f"the layer's {name} data are damaged", details=str(err)) from err


class _Gzip:
    errors: Tuple[Type[Exception], ...] = (zlib.error,)

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            out = self._inner.decompress(data, PIECE)
            data = self._inner.unconsumed_tail
            yield out
            # What is left behind the stream's end is never consumed.
            if self._inner.eof or (not data and len(out) < PIECE):
                return

    @property
    def rest(self) -> Optional[bytes]:
        return self._inner.unused_data if self._inner.eof else None


class _Bzip2:
    errors: Tuple[Type[Exception], ...] = (OSError, ValueError)

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data, PIECE)
        while not (self._inner.eof or self._inner.needs_input):
            yield self._inner.decompress(b"", PIECE)

    @property
    def rest(self) -> Optional[bytes]:
        return self._inner.unused_data if self._inner.eof else None


class _Xz:
    errors: Tuple[Type[Exception], ...] = (lzma.LZMAError,)

    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data, PIECE)
        while not (self._inner.eof or self._inner.needs_input):
            yield self._inner.decompress(b"", PIECE)

    @property
    def rest(self) -> Optional[bytes]:
        return self._inner.unused_data if self._inner.eof else None


class _Zstd:
    def __init__(self) -> None:
        try:
            zstandard = importlib.import_module("zstandard")
        except ImportError as err:
            raise NotPossibleHere(
                "the layer is compressed with zstd, which Python cannot read by itself",
                resolution="Install the package zstandard: pip install 'ovl1[zstd]'.",
            ) from err
        self.errors: Tuple[Type[Exception], ...] = (zstandard.ZstdError,)
        self._inner = zstandard.ZstdDecompressor(max_window_size=_MOST_MEMORY).decompressobj()
        self._behind = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_STEP):
            step = data[start : start + _ZSTD_STEP]
            yield self._inner.decompress(step)
            if self._inner.eof:
                self._behind = self._inner.unused_data + data[start + _ZSTD_STEP :]
                return

    @property
    def rest(self) -> Optional[bytes]:
        return self._behind if self._inner.eof else None


# bzip2's three letters could begin a name in a tar: its first block's magic is asked for, too.
_FORMATS: Tuple[Tuple[str, re.Pattern[bytes], Callable[[], _Decoder]], ...] = (
    ("gzip", re.compile(rb"\x1f\x8b\x08"), _Gzip),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), _Bzip2),
    ("xz", re.compile(rb"\xfd7zXZ\0"), _Xz),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL), _Zstd),
)
