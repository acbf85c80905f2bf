"""Deleting a tree by directory descriptors, without following anything out of it.

Stops at mount points: what is mounted below, if only a directory of the same file system on
another one, is not ours to delete.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from ovl1.closing import Closing
from ovl1.linux.beneath import Directory
from ovl1.linux.trail import Trail
from ovl1.linux.workers import Share, share_out, sharers

_WORTH_FORKING = 4000
"""Names; they take about 15 ms, workers a few to begin. A tenth of it is worth giving away."""

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


def remove_tree(parent: Directory, name: bytes, *, workers: Optional[int] = None) -> int:
    """Delete the entry `name` of `parent` and all below it; gone already is fine.

    Args:
        workers: how many processes for a tree that is not small; by default one for each
            processor that this process may use, up to four.

    Returns:
        How many names were removed.

    Raises:
        OSError: ``EBUSY`` when something is mounted below; what was removed stays removed.
    """
    try:
        parent.unlink(name)
        return 1
    except FileNotFoundError:
        return 0
    except IsADirectoryError:
        pass
    alone = (workers or sharers()) < 2
    with _Removal(parent, _Rest((), [_Step(0, name)])) as removal:
        removal.go_on(Share(), limit=None if alone else _WORTH_FORKING)
        rest, removed = removal.rest(), removal.removed
    if rest.pending:
        removed += sum(
            share_out(lambda part, share: _removed(parent, part, share), rest, workers=workers)
        )
        # Who gives a part of a directory away cannot remove the directory itself.
        removed += remove_tree(parent, name, workers=1)
    return removed


def remove_path(path: Path) -> int:
    """`remove_tree` at a path that we (not an image) chose; without its parent it is gone."""
    try:
        with Directory.open(path.parent) as parent:
            return remove_tree(parent, os.fsencode(path.name))
    except FileNotFoundError:
        return 0


class _Step(NamedTuple):
    """A directory still to be removed."""

    depth: int
    """How deep the directory lies that has it."""
    name: bytes
    is_empty: bool = False
    """So it should be by then, at least."""


class _Rest(NamedTuple):
    """What is left to remove."""

    at: Tuple[bytes, ...]
    pending: List[_Step]
    """Each lies in one of the directories on the way to `at`."""


class _Removal(Closing):
    """Removes directories one by one."""

    def __init__(self, parent: Directory, rest: _Rest) -> None:
        self._trail = Trail(parent)
        self._trail.to(rest.at)
        self._pending = list(rest.pending)
        self._whole = sum(not step.is_empty for step in rest.pending)
        """How many of these have not been begun."""
        self._has_given = False
        self.removed = 0

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._trail.close()

    def go_on(self, share: Share[_Rest], limit: Optional[int] = None) -> None:
        """Remove what is pending, or until `limit` names are gone."""
        pending, worth_giving = self._pending, 0
        while pending and (limit is None or self.removed < limit):
            if self.removed >= worth_giving and self._whole > 1 and share.wanted():
                share.give(self._half())
                worth_giving = self.removed + _WORTH_FORKING // 10
            step = pending.pop()
            self._whole -= not step.is_empty
            # The kernel's own word on mount points comes with this, before anything is touched.
            if not self._rmdir(step) and not step.is_empty:
                self._empty(step)

    def rest(self) -> _Rest:
        """What is pending."""
        return _Rest(tuple(self._trail.parts), self._pending)

    def _half(self) -> _Rest:
        """Every second directory not begun: big ones, from far up, and small ones for both."""
        steps = [step for step in self._pending if not step.is_empty][::2]
        given = set(steps)
        self._pending[:] = [step for step in self._pending if step not in given]
        self._whole -= len(steps)
        self._has_given = True
        # No further: what lies on the way to nothing in this half may soon be gone.
        way = self._trail.parts[: max(step.depth for step in steps)]
        return _Rest(tuple(way), steps)

    def _empty(self, step: _Step) -> None:
        directory = self._trail.enter(step.depth, step.name)
        removed, subdirectories = directory.unlink_all()
        self.removed += removed
        self._pending.append(step._replace(is_empty=True))
        depth = len(self._trail.parts)
        self._pending += (_Step(depth, name) for name in subdirectories)
        self._whole += len(subdirectories)

    def _rmdir(self, step: _Step) -> bool:
        """Remove a directory if it is empty."""
        try:
            self._trail.at(step.depth).rmdir(step.name)
        except OSError as err:
            if err.errno not in _NOT_EMPTY or (step.is_empty and not self._has_given):
                raise
            return False
        self.removed += 1
        return True


def _removed(parent: Directory, part: _Rest, share: Share[_Rest]) -> int:
    with _Removal(parent, part) as removal:
        removal.go_on(share)
        return removal.removed
