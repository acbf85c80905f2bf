"""Whether a tar names anything twice, told at its end from 16 bytes a name.

A set of the names themselves takes ten times as much, which for a layer of a million names is more
than all the rest of the work. Limit: the digests are BLAKE2b of 128 bits; nobody knows two names
that have the same.
"""

from __future__ import annotations

import hashlib
from typing import Iterator, List

from ovl1.formats.whiteouts import clean

_SIZE = 16
_PARTS = 256


class Seen:
    """Names as they come; spellings of one path are the same name."""

    def __init__(self) -> None:
        # In parts, so that telling takes no more than what one of them holds.
        self._parts: List[bytearray] = [bytearray() for _ in range(_PARTS)]

    def add(self, name: bytes) -> None:
        """Remember a name."""
        digest = _digest(name)
        self._parts[digest[0]] += digest

    @property
    def has_twice(self) -> bool:
        """Whether a name came more than once."""
        return any(len(set(_digests(part))) * _SIZE < len(part) for part in self._parts)


def _digest(name: bytes) -> bytes:
    return hashlib.blake2b(clean(name), digest_size=_SIZE).digest()


def _digests(part: bytearray) -> Iterator[bytes]:
    whole = bytes(part)
    return (whole[at : at + _SIZE] for at in range(0, len(whole), _SIZE))
