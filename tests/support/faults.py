"""A command at whose every change of a file system something may happen: a kill, an error...

The command is done in a child of its own, whose system calls (and those of all its workers) wait
until we let them be done. They are numbered from 1 in the order in which they come; with several
workers that order, and the total by a little, differs from time to time. A number that never comes
is no error: the command ran to its end. What acts on another file system is let through uncounted.

Limits: see `tests.support.faults_calls`; a write is done as a whole or not at all.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional

from tests.support import faults_notify
from tests.support.child import Child, Ended, running
from tests.support.faults_calls import calls, can_give
from tests.support.faults_notify import Asked
from tests.support.faults_spots import spots

LIMIT = 120.0
"""Seconds that a child may take."""

_NOBODY_LEFT = 10.0


class Point(NamedTuple):
    """A moment: right before a system call."""

    number: int
    call: str
    path: str
    """Below the directory that is watched, if it is there; two for a call with two."""

    def __str__(self) -> str:
        return f"{self.number} {self.call} {self.path}"


class Supervised(NamedTuple):
    """What came of it."""

    ended: Ended
    points: List[Point]
    """All that was asked for, but what nobody answered any more after a kill."""
    hit: Optional[Point]
    """Where it happened, first; None if that moment never came."""


class Group:
    """A child and all its workers."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self.is_killed = False

    def kill(self) -> None:
        """End them all, wherever they are; calls that wait are not done."""
        self.is_killed = True
        self._send(signal.SIGKILL)

    def interrupt(self, number: int) -> None:
        """Send a signal to the child itself, as ``kill`` and ``systemctl stop`` do first."""
        os.kill(self._leader, number)

    def await_end(self) -> None:
        """Kill and wait until none is left, nor a lock or an open file of theirs."""
        deadline = time.monotonic() + _NOBODY_LEFT
        while any(self._alive()):
            assert time.monotonic() < deadline, "somebody has survived a kill"
            self._send(signal.SIGKILL)
            time.sleep(0.001)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._leader, number)

    def _alive(self) -> Iterator[int]:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                state, _, group = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(group) == self._leader and state not in b"ZX":
                yield int(name)


Decision = Callable[[Point, Group], int]
"""What is to happen at a point: gives the error that the call shall fail with, or 0."""


def supervised(
    action: Callable[[], int], place: Path, decide: Decision, limit: float = LIMIT
) -> Supervised:
    """Do `action` in a child, asking `decide` before each change of the file system of `place`.

    Raises:
        TimeoutError: the child did not end; it is gone now.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, running(_watched(action, theirs)) as child:
        theirs.close()
        watch = _Watch(place, child, decide)
        try:
            watch.until_all_are_gone(ours, time.monotonic() + limit)
        finally:
            watch.group.kill()
            ended = child.wait()
            watch.group.await_end()
    return Supervised(ended, watch.points, watch.hit)


def count(action: Callable[[], int], place: Path) -> Supervised:
    """Do `action`; its points are what this is for."""
    return supervised(action, place, lambda point, group: 0)


def killed_at(number: int, action: Callable[[], int], place: Path) -> Supervised:
    """Do `action`, killed with all its workers before its call `number`, which is not done."""

    def decide(point: Point, group: Group) -> int:
        if point.number == number:
            group.kill()
        return 0

    return supervised(action, place, decide)


def failing_at(
    number: int, error: int, action: Callable[[], int], place: Path, *, lasting: bool = False
) -> Supervised:
    """Do `action`, whose call `number`, or the next one that can, fails with `error`.

    Args:
        lasting: from then on, all that can.
    """
    failed = 0

    def decide(point: Point, group: Group) -> int:
        nonlocal failed
        if point.number < number or not can_give(point.call, error) or (failed and not lasting):
            return 0
        failed += 1
        return error

    return supervised(action, place, decide)


def happening_at(
    number: int, happens: Callable[[Group], object], action: Callable[[], int], place: Path
) -> Supervised:
    """Do `action`; something happens before its call `number`, which is done."""
    happened: List[Point] = []

    def decide(point: Point, group: Group) -> int:
        if point.number == number:
            happened.append(point)
            happens(group)
        return 0

    done = supervised(action, place, decide)
    return done._replace(hit=happened[0] if happened else None)


def signalled_at(number: int, sign: int, action: Callable[[], int], place: Path) -> Supervised:
    """Do `action`, to which a signal is sent before its call `number`, which is done."""
    return happening_at(number, lambda group: group.interrupt(sign), action, place)


def alone(action: Callable[[], int]) -> Callable[[], int]:
    """`action` on one processor, so without workers: its points are the same each time."""

    def pinned() -> int:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return action()

    return pinned


class _Watch:
    """Answers what the system calls of a child ask."""

    def __init__(self, place: Path, child: Child, decide: Decision) -> None:
        self.group = Group(child.pid)
        self.points: List[Point] = []
        self.hit: Optional[Point] = None
        self._child, self._decide = child, decide
        self._place = os.path.realpath(place)
        self._device = os.stat(place).st_dev
        self._calls = calls(os.uname().machine)

    def until_all_are_gone(self, line: socket.socket, deadline: float) -> None:
        """Until the other end of `line`, which they all have, is closed by the last one."""
        listener = _received(line, deadline)
        if listener < 0:
            return
        try:
            faults_notify.prepare(listener)
            poll = select.poll()
            poll.register(line, select.POLLIN)
            poll.register(listener, select.POLLIN)
            while True:
                ready = dict(poll.poll(max(0, deadline - time.monotonic()) * 1000))
                if not ready:
                    raise TimeoutError(f"no end after {self.points[-1:]}")
                if ready.get(listener, 0) & select.POLLIN:
                    self._answer(listener)
                elif listener in ready:
                    poll.unregister(listener)
                elif line.fileno() in ready:
                    return
        finally:
            os.close(listener)

    def _answer(self, listener: int) -> None:
        asked = faults_notify.receive(listener)
        if asked is None or self.group.is_killed:
            return
        error = self._decided(asked)
        if not self.group.is_killed:
            faults_notify.answer(listener, asked, error)

    def _decided(self, asked: Asked) -> int:
        call = self._calls[asked.number]
        about = spots(asked, call)
        if call.spots and self._device not in (spot.device for spot in about):
            return 0
        paths = " -> ".join(self._short(spot.path) for spot in about)
        point = Point(len(self.points) + 1, call.name, paths)
        self.points.append(point)
        error = self._decide(point, self.group)
        if self.hit is None and (error or self.group.is_killed):
            self.hit = point
        return error

    def _short(self, path: str) -> str:
        return os.path.relpath(path, self._place) if path.startswith(self._place) else path


def _watched(action: Callable[[], int], line: socket.socket) -> Callable[[], int]:
    """`action` under the filter; the line stays open until the process and its forks are gone."""

    def under_filter() -> int:
        os.setsid()
        listener = faults_notify.install()
        fds = array.array("i", [listener])
        line.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        os.close(listener)
        return action()

    return under_filter


def _received(line: socket.socket, deadline: float) -> int:
    """The descriptor that a child sends; -1 if it ended before."""
    line.settimeout(max(0.001, deadline - time.monotonic()))
    _, ancillary, _, _ = line.recvmsg(1, socket.CMSG_SPACE(4))
    line.settimeout(None)
    for _, _, data in ancillary:
        return array.array("i", data)[0]
    return -1


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
