"""The log file of a migration: for people who come later. The truth is in its journal."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Iterator, Optional

from ovl1.cli import output
from ovl1.errors import NotPossibleHere, OvlError
from ovl1.model import Progress

_LOGGER = logging.getLogger("ovl1.migrate")


class _Lines(logging.Formatter):
    """One line for each action, with the time (UTC, to the millisecond) and the process."""

    converter = time.gmtime

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return output.escaped(super().format(record))


class _File(logging.FileHandler):
    """A file that is flushed at each line; one that is full must not end a migration."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not self._failed:
            output.remark(f"ovl1: cannot write to the log any more: {record.getMessage()}")
        self._failed = True


@contextlib.contextmanager
def logged(path: Optional[Path], what: str, progress: Progress) -> Iterator[Progress]:
    """Append to the file at `path` what the block does; nothing without a path.

    Args:
        what: the command, in words.

    Yields:
        a `Progress` that is logged, too.

    Raises:
        NotPossibleHere: the file cannot be written.
    """
    if path is None:
        yield progress
        return
    try:
        handler = _File(path, encoding="utf-8")
    except OSError as err:
        raise NotPossibleHere(
            f"cannot write the log: {err}", resolution="Name another file with --log."
        ) from err
    handler.setFormatter(_Lines())

    def told(phase: str, done: int, total: int) -> None:
        _LOGGER.info("%s: %d of %d", phase, done, total)
        progress(phase, done, total)

    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    try:
        _LOGGER.info("%s begins", what)
        yield told
        _LOGGER.info("%s is done", what)
    except OvlError as err:
        _LOGGER.info("%s ended with %d: %s", what, err.exit_code, err)
        raise
    except BaseException as err:
        _LOGGER.info("%s ended: %r", what, err)
        raise
    finally:
        _LOGGER.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
