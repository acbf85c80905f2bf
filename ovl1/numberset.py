"""A set of numbers that lie close together, as the inode numbers of a file system do.

A bit each, in pages that are made when they are needed. Numbers that are far apart take a page
each, which is more than a ``set`` would take.
"""

from __future__ import annotations

from typing import Dict

_PAGE = 1 << 9
"""Bytes; xfs numbers inodes in groups that lie far apart."""

_BITS = 8 * _PAGE


class NumberSet:
    """Numbers from 0 on, without an upper limit; they can be added, counted, and found."""

    __slots__ = ("_pages", "_size")

    def __init__(self) -> None:
        self._pages: Dict[int, bytearray] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, number: int) -> bool:
        page, bit = divmod(number, _BITS)
        return page in self._pages and bool(self._pages[page][bit >> 3] & 1 << (bit & 7))

    def add(self, number: int) -> bool:
        """Add a number, unless it is there.

        Returns:
            Whether it is new.
        """
        page, bit = divmod(number, _BITS)
        bits = self._pages.get(page)
        if bits is None:
            bits = self._pages[page] = bytearray(_PAGE)
        byte, mask = bit >> 3, 1 << (bit & 7)
        if bits[byte] & mask:
            return False
        bits[byte] |= mask
        self._size += 1
        return True
