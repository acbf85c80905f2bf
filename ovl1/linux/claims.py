"""Who of several processes takes what: the first one that asks for it.

A claim is a record lock on one byte of a file in memory: nobody else can get it, the answer is
the same however often one asks, and a process that ends has none. A process loses all its claims
when it closes the file, so only who made it does, which claims nothing.
"""

from __future__ import annotations

import fcntl
import os
from typing import Dict, Optional

from ovl1.closing import Closing

_DIFFERENT = 1 << 12
"""How many claims there are at most: the kernel looks through all of them."""


class Claims(Closing):
    """What processes that are forked from here share; a context manager."""

    def __init__(self) -> None:
        """Raises:
        OSError: there are no files in memory here.
        """
        if not hasattr(os, "memfd_create"):  # glibc before 2.27
            raise OSError("no files in memory")
        self._fd: Optional[int] = os.memfd_create("claims")
        self._is_mine: Dict[int, bool] = {}

    def close(self) -> None:
        """For who made it, when the others have ended; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def mine(self, number: int) -> bool:
        """Whether this process is the first to ask; some numbers are claimed together."""
        known = self._is_mine.get(number)
        if known is None:
            known = self._is_mine[number] = self._claim(number % _DIFFERENT)
        return known

    def _claim(self, at: int) -> bool:
        assert self._fd is not None
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except (BlockingIOError, PermissionError):  # POSIX leaves open which of the two it is
            return False
        return True
