"""The way from a root down to where a walk is, of which only the last directories are open.

A walk goes back to the directories above it, but a process may have no more than 1,024 descriptors
by default, and trees are deeper. What was closed is opened again from the root when it is needed,
component by component, never by a path string. Paths must not be renamed during the walk: what is
opened again would be something else, or missing.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, List, Sequence

from ovl1.closing import Closing
from ovl1.linux.beneath import Directory

_KEPT_OPEN = 100


class Trail(Closing):
    """A place below a root that is moved about; a context manager. The root stays the caller's."""

    def __init__(self, root: Directory) -> None:
        self.parts: List[bytes] = []
        """Where it is."""
        self._root = root
        self._open: Deque[Directory] = deque()

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        while self._open:
            self._open.pop().close()

    def at(self, depth: int) -> Directory:
        """Go up to the directory on the way that is `depth` levels below the root, and return it.

        It is valid until the next move.
        """
        while len(self.parts) > depth:
            self.parts.pop()
            if self._open:
                self._open.pop().close()
        if not self._open:
            for part in self.parts:
                self._enter(part)
        return self._here

    def enter(self, depth: int, name: bytes) -> Directory:
        """Go up as `at` does, then down to the sub-directory `name`, which is returned."""
        self.at(depth)
        self._enter(name)
        self.parts.append(name)
        return self._here

    def to(self, parts: Sequence[bytes]) -> Directory:
        """Move to the directory at `parts` below the root, over what both ways have in common."""
        common = in_common(self.parts, parts)
        self.at(common)
        for depth in range(common, len(parts)):
            self.enter(depth, parts[depth])
        return self._here

    @property
    def _here(self) -> Directory:
        return self._open[-1] if self._open else self._root

    def _enter(self, name: bytes) -> None:
        self._open.append(self._here.child(name))
        if len(self._open) > _KEPT_OPEN:
            self._open.popleft().close()


def in_common(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """With how many equal parts two paths begin."""
    number = 0
    for mine, theirs in zip(one, other):
        if mine != theirs:
            break
        number += 1
    return number
