"""Moments of a change to a store, told by the calls that it makes, when something may happen."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

from ovl1.linux import durable, libc
from ovl1.linux.beneath import Directory
from ovl1.migrate.daemon import WriteDaemonJson
from ovl1.migrate.journal import Journal
from ovl1.migrate.make import Maker
from ovl1.migrate.making import MakeLayers
from ovl1.migrate.steps import Bar, Move, Swap, SwitchDriver, Unbar
from ovl1.tree import remove

KILLED = 99
BEFORE, AFTER = "before", "after"

# Whose attribute is replaced, by the name that the tables below use.
OWNERS: Dict[str, Tuple[Any, str]] = {
    "Move.do": (Move, "do"),
    "Move.undo": (Move, "undo"),
    "SwitchDriver.do": (SwitchDriver, "do"),
    "SwitchDriver.undo": (SwitchDriver, "undo"),
    "WriteDaemonJson.do": (WriteDaemonJson, "do"),
    "WriteDaemonJson.undo": (WriteDaemonJson, "undo"),
    "Journal.add": (Journal, "add"),
    "os.rename": (os, "rename"),
    "Path.unlink": (Path, "unlink"),
    "Directory.unlink": (Directory, "unlink"),
    "rmtree": (shutil, "rmtree"),
    "sync_directory": (durable, "sync_directory"),
    "sync_file_system": (durable, "sync_file_system"),
    "append_line": (durable, "append_line"),
    "write_file": (durable, "write_file"),
    "Bar.do": (Bar, "do"),
    "Bar.undo": (Bar, "undo"),
    "Swap.do": (Swap, "do"),
    "Swap.undo": (Swap, "undo"),
    "Unbar.do": (Unbar, "do"),
    "Unbar.undo": (Unbar, "undo"),
    "libc.exchange": (libc, "exchange"),
    "MakeLayers.do": (MakeLayers, "do"),
    "Maker.make": (Maker, "make"),
    "remove_tree": (remove, "remove_tree"),
    "Path.rmdir": (Path, "rmdir"),
}


class Point(NamedTuple):
    """A moment: before or after the nth call of something."""

    name: str
    number: int
    when: str

    def __str__(self) -> str:
        return f"{self.when}-{self.name}-{self.number}"


def points(calls: Dict[str, int]) -> List[Point]:
    return [
        Point(name, number, when)
        for name, count in calls.items()
        for number in range(count)
        for when in (BEFORE, AFTER)
    ]


def watched(name: str, seen: Callable[[int, str], object]) -> None:
    """From now on, in this process, tell before and after each call of `name` its number."""
    owner, attribute = OWNERS[name]
    real = getattr(owner, attribute)
    numbers = itertools.count()

    @functools.wraps(real)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        number = next(numbers)
        seen(number, BEFORE)
        result = real(*args, **kwargs)
        seen(number, AFTER)
        return result

    setattr(owner, attribute, replacement)


def at(point: Point, happens: Callable[[], object], action: Callable[[], int]) -> Callable[[], int]:
    """`action`, with something happening at `point`; to be done in a child of its own."""

    def changed() -> int:
        watched(
            point.name,
            lambda number, when: happens() if (number, when) == point[1:] else None,
        )
        return action()

    return changed


def killed(point: Point, action: Callable[[], int]) -> Callable[[], int]:
    return at(point, lambda: os._exit(KILLED), action)


def interrupted(point: Point, action: Callable[[], int]) -> Callable[[], int]:
    return at(point, lambda: os.kill(os.getpid(), signal.SIGINT), action)


def counted(names: Iterable[str], action: Callable[[], int]) -> Callable[[], int]:
    """`action`, which then says on standard error how often each of `names` was called."""

    def counting() -> int:
        calls = dict.fromkeys(names, 0)

        def count(name: str, number: int, _when: str) -> None:
            calls[name] = number + 1

        for name in calls:
            watched(name, functools.partial(count, name))
        code = action()
        os.write(2, f"{calls}".encode())
        return code

    return counting
