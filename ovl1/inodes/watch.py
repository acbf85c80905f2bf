"""How the file systems below a data-root fill: looked at again and again, and how fast.

A look costs a few system calls, however large the store is. Rates are those between the ends of a
window that slides along: what comes in bursts is told evenly, and what has stopped is forgotten
after one window. The time left follows from how fast *free* inodes and bytes become fewer: xfs
makes inodes as needed, and has fewer left whenever data take their room.
"""

from __future__ import annotations

import collections
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Deque, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from ovl1.inodes.filesystems import file_system
from ovl1.store.layout import Layout

INODES, BYTES = "inodes", "bytes"


class Amount(NamedTuple):
    """Inodes, or bytes, of a file system."""

    total: int
    used: int
    free: int
    """For root, as which daemons run."""


@dataclass(frozen=True)
class State:
    """One file system at one moment."""

    kind: str
    amounts: Mapping[str, Amount]
    """Of `INODES`, unless they are not counted (btrfs), and of `BYTES`."""


@dataclass(frozen=True)
class Look:
    """What was seen at one moment."""

    time: float
    """Seconds of a clock that only goes forwards."""
    systems: Mapping[str, State]
    """By the directory that each was found by."""
    layers: int
    """Recorded image layers."""
    containers: int


class Pace(NamedTuple):
    """How fast an amount changes."""

    used_per_second: float
    seconds_left: Optional[float]
    """Until nothing is free; None as long as it does not become less."""


class Course(NamedTuple):
    """What has become of an amount so far."""

    path: str
    kind: str
    what: str
    """`INODES` or `BYTES`."""
    now: Amount
    change: int
    """How much more is in use than when it was first seen."""
    least_free: int
    """The least that was ever seen."""
    pace: Optional[Pace]
    """At present; None while it has been seen but once."""
    mean: Optional[Pace]
    """Since it was first seen."""


def look(layout: Layout, time: float) -> Look:
    """Look now. The store need not be there yet.

    Raises:
        OSError: the data-root is gone.
    """
    systems = {os.fspath(path): _state(path) for path in _directories(layout.data_root)}
    return Look(time, systems, _names_in(layout.layers), _names_in(layout.mounts))


def _directories(data_root: Path) -> Iterator[Path]:
    """The data-root, and those directly in it that lie on other file systems."""
    seen = {data_root.stat().st_dev}
    yield data_root
    with os.scandir(data_root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            with contextlib.suppress(OSError):
                device = entry.stat(follow_symlinks=False).st_dev
                if device not in seen and entry.is_dir(follow_symlinks=False):
                    seen.add(device)
                    yield Path(entry.path)


def _state(path: Path) -> State:
    system = os.statvfs(path)
    amounts: Dict[str, Amount] = {}
    if system.f_files:
        used = system.f_files - system.f_ffree
        amounts[INODES] = Amount(system.f_files, used, system.f_ffree)
    blocks = (system.f_blocks, system.f_blocks - system.f_bfree, system.f_bfree)
    amounts[BYTES] = Amount(*(number * system.f_frsize for number in blocks))
    return State(file_system(path, 0).kind, amounts)


def _names_in(directory: Path) -> int:
    try:
        with os.scandir(directory) as entries:
            return sum(1 for _ in entries)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return 0


class Watch:
    """The looks so far: those of a window, and the first at each file system."""

    def __init__(self, window: float) -> None:
        """Args:
        window: how many seconds are the present.
        """
        self._window = window
        self._looks: Deque[Look] = collections.deque()
        self._first: Optional[Look] = None
        self._begun: Dict[str, Look] = {}
        self._least: Dict[Tuple[str, str], int] = {}

    def add(self, seen: Look) -> None:
        """The next look."""
        if self._first is None:
            self._first = seen
        self._looks.append(seen)
        # The latest that is out of the window stays, so that what is left spans all of it.
        while len(self._looks) > 2 and seen.time - self._looks[1].time >= self._window:
            self._looks.popleft()
        for path, state in seen.systems.items():
            self._begun.setdefault(path, seen)
            for what, amount in state.amounts.items():
                least = self._least.get((path, what), amount.free)
                self._least[path, what] = min(least, amount.free)

    @property
    def first(self) -> Look:
        """The one that it began with."""
        assert self._first is not None
        return self._first

    @property
    def last(self) -> Look:
        """The latest."""
        return self._looks[-1]

    @property
    def elapsed(self) -> float:
        """Seconds between the two."""
        return self.last.time - self.first.time

    def courses(self) -> Iterator[Course]:
        """Inodes and bytes of each file system that is there now."""
        for path, state in self.last.systems.items():
            recent = next(seen for seen in self._looks if path in seen.systems)
            for what, now in state.amounts.items():
                begun = self._begun[path].systems[path].amounts.get(what, now)
                yield Course(
                    path,
                    state.kind,
                    what,
                    now,
                    now.used - begun.used,
                    self._least[path, what],
                    pace(recent, self.last, path, what),
                    pace(self._begun[path], self.last, path, what),
                )


def pace(then: Look, now: Look, path: str, what: str) -> Optional[Pace]:
    """How fast inodes or bytes of the file system at `path` were used between two looks."""
    seconds = now.time - then.time
    before = then.systems[path].amounts.get(what)
    after = now.systems[path].amounts.get(what)
    if before is None or after is None or seconds <= 0:
        return None
    lost = (before.free - after.free) / seconds
    left = after.free / lost if lost > 0 else None
    return Pace((after.used - before.used) / seconds, 0.0 if not after.free else left)
