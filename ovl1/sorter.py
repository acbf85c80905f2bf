"""Sorting more byte strings than are to be in memory: what is too much is kept in a file meanwhile.

Sorted runs go to a temporary file without a name and are merged at the end, so memory stays what
one run takes. Where there is no room for such a file, all stays in memory.
"""

from __future__ import annotations

import heapq
import os
import sys
import tempfile
from itertools import chain
from typing import BinaryIO, Iterator, List, Optional, Tuple

from ovl1.closing import Closing

_MOST = 4 << 20
"""Bytes of memory for one run."""

_OVERHEAD = 50
"""Bytes that a string takes beside its own: see ``sys.getsizeof``, and its place in a list."""

_BLOCK = 1 << 16
"""Bytes of a run that are read at a time."""

_LENGTH = 4

Block = Tuple[int, int]
"""Where a part of a run lies in the file: offset and size."""


class Sorter(Closing):
    """Strings are added, then come in order; a context manager."""

    def __init__(self, most: int = _MOST) -> None:
        """Args:
        most: bytes of memory that what is added may take, about.
        """
        self._most, self._size = most, 0
        self._items: List[bytes] = []
        self._file: Optional[BinaryIO] = None
        self._end = 0
        self._runs: List[List[Block]] = []

    def close(self) -> None:
        """Forget everything; idempotent."""
        self._items, self._runs = [], []
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, item: bytes) -> None:
        """Add a string."""
        self._items.append(item)
        self._size += len(item) + _OVERHEAD
        if self._size > self._most:
            self._items.sort()
            self._put_away()

    def sorted(self) -> Iterator[bytes]:
        """All that was added, the least first; no more may be added."""
        self._items.sort()
        return iter(heapq.merge(*map(self._read, self._runs), self._items))

    def _put_away(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - see close
            self._runs.append(list(self._written(self._file.fileno())))
        except OSError:
            self._most = sys.maxsize
        else:
            self._items, self._size = [], 0

    def _written(self, fd: int) -> Iterator[Block]:
        """Write the items as a run; of one that failed half-way nothing is ever read."""
        pending: List[bytes] = []
        size = 0
        for item in chain(self._items, [None]):
            if item is None or size > _BLOCK:
                block = b"".join(pending)
                _write_all(fd, block, self._end)
                yield self._end, len(block)
                self._end += len(block)
                pending, size = [], 0
            if item is not None:
                pending += len(item).to_bytes(_LENGTH, "little"), item
                size += _LENGTH + len(item)

    def _read(self, run: List[Block]) -> Iterator[bytes]:
        for offset, size in run:
            assert self._file is not None, "read after it was closed"
            block = os.pread(self._file.fileno(), size, offset)
            at = 0
            while at < size:
                end = at + _LENGTH
                at, begin = end + int.from_bytes(block[at:end], "little"), end
                yield block[begin:at]


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
