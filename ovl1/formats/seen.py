"""Whether a tar names anything twice, told at its end.

Digests of the names are sorted, in a temporary file if they are many: so memory does not grow with
the names. Limit: they are BLAKE2b of 128 bits; nobody knows two names that have the same.
"""

from __future__ import annotations

import hashlib

from ovl1.closing import Closing
from ovl1.formats.whiteouts import clean
from ovl1.sorter import Sorter

_SIZE = 16


class Seen(Closing):
    """Names as they come; spellings of one path are the same name; a context manager."""

    def __init__(self) -> None:
        self._digests = Sorter()

    def close(self) -> None:
        """Forget them; idempotent."""
        self._digests.close()

    def add(self, name: bytes) -> None:
        """Remember a name."""
        self._digests.add(hashlib.blake2b(clean(name), digest_size=_SIZE).digest())

    def has_twice(self) -> bool:
        """Whether a name came more than once; to be asked when all have come."""
        last = b""
        for digest in self._digests.sorted():
            if digest == last:
                return True
            last = digest
        return False
