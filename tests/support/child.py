"""Doing something in a child process that may be killed, lose its rights, or its namespace."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from ovl1.cli.main import COMMANDS, run

# A child that has lost its rights may not be able to read Python's own files any more.
for _name in COMMANDS:
    importlib.import_module(f"ovl1.cli.{_name}")

NOBODY = 65534
_FAILED = 70


class Ended(NamedTuple):
    """How a child ended."""

    code: int
    """Its exit code, or minus the signal that killed it."""
    out: str
    err: str


def in_child(action: Callable[[], int]) -> Ended:
    """Do `action` in a forked child, which ends with the code that it returns."""
    with running(action) as child:
        return child.wait()


class Child:
    """A forked child that is at work."""

    def __init__(self, pid: int, scratch: Path) -> None:
        self.pid = pid
        self._scratch = scratch
        self._status: int | None = None

    def wait(self) -> Ended:
        """Wait for its end."""
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        status = self._status
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        out, err = ((self._scratch / name).read_text(errors="replace") for name in ("out", "err"))
        return Ended(code, out, err)

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self._status is None:
            os.kill(self.pid, number)


@contextlib.contextmanager
def running(action: Callable[[], int]) -> Iterator[Child]:
    """Do `action` in a forked child; at the end of the block it is killed if it still runs."""
    with tempfile.TemporaryDirectory() as scratch:
        # Before the child, which may be killed before it can.
        for name in ("out", "err"):
            Path(scratch, name).touch()
        # Or its first collection would copy all that we have, page by page.
        gc.freeze()
        pid = os.fork()
        if not pid:
            _be_child(action, Path(scratch))
        gc.unfreeze()
        child = Child(pid, Path(scratch))
        try:
            yield child
        finally:
            child.signal(9)
            child.wait()


def command(data_root: Path, *arguments: str) -> Callable[[], int]:
    """What ``ovl1 --data-root DATA_ROOT ARGUMENTS`` does, to be done in a child."""
    return lambda: run(["--data-root", os.fspath(data_root), *arguments])


def as_nobody(action: Callable[[], int]) -> Callable[[], int]:
    """`action` by a user without any privileges."""

    def other() -> int:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return action()

    return other


def _be_child(action: Callable[[], int], scratch: Path) -> None:
    code = _FAILED
    try:
        for number, name in ((1, "out"), (2, "err")):
            fd = os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(fd, number)
        with open(1, "w", closefd=False) as out, open(2, "w", closefd=False) as err:
            sys.stdout, sys.stderr = out, err
            try:
                code = action()
            except BaseException:  # noqa: BLE001 - whatever it is, the child must end
                traceback.print_exc()
    finally:
        os._exit(code)
