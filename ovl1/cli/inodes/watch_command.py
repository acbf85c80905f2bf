"""A command that runs beside a watch: where its output goes, and which signals reach it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Callable, Iterator, Optional, Sequence

from ovl1.errors import WrongUsage

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SIGNALLED = 128
"""As the shell counts a command that a signal ended."""
_PATIENCE = 1.0
"""Seconds for the last of the output, which a grandchild may keep open for ever."""

ShowLine = Callable[[str], None]


class Beside:
    """A running command."""

    def __init__(
        self, command: Sequence[str], show_line: Optional[ShowLine], over: threading.Event
    ) -> None:
        """Start it.

        Args:
            show_line: what is given each line of its output; by default standard error is.
            over: what is set when it has ended.

        Raises:
            WrongUsage: it cannot be run.
        """
        read, write = os.pipe() if show_line is not None else (-1, os.dup(sys.stderr.fileno()))
        try:
            errors = write if show_line is not None else None
            self._process = subprocess.Popen(command, stdout=write, stderr=errors)
        except OSError as error:
            if read >= 0:
                os.close(read)
            raise WrongUsage(f"{command[0]} cannot be run: {error.strerror}") from error
        finally:
            os.close(write)
        self._reader = _thread(_pass_on, read, show_line) if show_line is not None else None
        _thread(_announce, self._process, over)

    def terminate(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def code(self) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait()
        if self._reader is not None:
            self._reader.join(_PATIENCE)
        return code if code >= 0 else _SIGNALLED - code


class Ending:
    """The wish that it ends, as signals tell it.

    Ctrl-C reaches a command by itself, as the terminal sends it to all its processes; it is then
    the command that decides. A second one asks it to end, as any other signal does at once.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        """When there is nothing more to watch."""
        self.command: Optional[Beside] = None
        self._times = 0

    def told(self, number: int, _frame: Any) -> None:
        """Take a signal."""
        self._times += 1
        if self.command is None:
            self.over.set()
        elif number != signal.SIGINT or self._times > 1:
            self.command.terminate()


@contextlib.contextmanager
def ending() -> Iterator[Ending]:
    """Take SIGINT and SIGTERM as the wish to end, for the time of the block."""
    made = Ending()
    before = {number: signal.signal(number, made.told) for number in _SIGNALS}
    try:
        yield made
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pass_on(fd: int, show_line: ShowLine) -> None:
    with open(fd, errors="backslashreplace") as lines:
        for line in lines:
            show_line(line.rstrip("\n"))


def _announce(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    process.wait()
    over.set()


def _thread(function: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread
