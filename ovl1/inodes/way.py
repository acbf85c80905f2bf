"""The way from the top of a tree down to where a walk is, with what is still to be seen on it.

Like `ovl1.linux.trail.Trail`, with less done for each directory and nothing for those that have no
sub-directories: a walk that only looks at names takes longer for Python than for the kernel.
Descriptors are few, however deep the tree is: those that lead back up are closed, and opened again
when the walk returns to them.
"""

from __future__ import annotations

import errno
import os
from typing import Dict, Generic, List, TypeVar

from ovl1.closing import Closing
from ovl1.linux.beneath import Directory

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_KEPT_OPEN = 100
_CLOSED = -1


Left = TypeVar("Left")


class Way(Closing, Generic[Left]):
    """A walk's place in a tree; a context manager. The top stays the caller's."""

    def __init__(self, top: Directory) -> None:
        self.parts: List[bytes] = []
        """Where it is, below the top."""
        self.left: List[List[Left]] = []
        """For each directory on the way, its sub-directories that were not yet entered."""
        self._top = top
        self._closed: Dict[int, int] = {}
        """The inodes of those that were closed, by how many parts lead to them."""
        self._fds = [os.open(".", OPEN, dir_fd=top.fd)]

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        while self._fds:
            self._close_last()

    @property
    def fd(self) -> int:
        """The directory where it is."""
        return self._fds[-1]

    def down(self, fd: int, name: bytes, left: List[Left]) -> None:
        """Go into a sub-directory, which was opened already and is closed here in the end."""
        self._fds.append(fd)
        self.parts.append(name)
        self.left.append(left)
        if len(self._fds) > _KEPT_OPEN:
            above = self._fds[-_KEPT_OPEN - 1]
            if above >= 0:
                self._closed[len(self._fds) - _KEPT_OPEN - 1] = os.fstat(above).st_ino
                os.close(above)
                self._fds[-_KEPT_OPEN - 1] = _CLOSED

    def up(self) -> bool:
        """Go up one directory; whether what is left to be seen there can still be reached."""
        self._close_last()
        self.left.pop()
        if not self.parts:
            return True
        self.parts.pop()
        if not self.left[-1] or self.fd >= 0:
            return True
        try:
            self._open_again()
        except OSError:
            # Something on the way was removed or renamed.
            self.left[-1].clear()
            return False
        return True

    def _open_again(self) -> None:
        """Open the last directories of the way once more, from the top."""
        here = self._top.descend(())
        for depth, part in enumerate((*self.parts, b"")):
            with here:
                if os.fstat(here.fd).st_ino != self._closed[depth]:
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), part)
                if self._fds[depth] < 0 and len(self._fds) - depth <= _KEPT_OPEN:
                    self._fds[depth] = os.dup(here.fd)
                if part:
                    below = here.child(part)
            here = below

    def _close_last(self) -> None:
        fd = self._fds.pop()
        if fd >= 0:
            os.close(fd)
