"""One writer at a time: an advisory lock on a directory, gone with the process that holds it.

The lock is taken on the directory itself, so nothing is written into the store for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Iterator

from ovl1.errors import Refused


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold flock(2) on `directory` for the time of the block; does not wait.

    Raises:
        Refused: another ovl1 process holds it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another ovl1 command is changing {directory}",
                resolution="Wait until it has finished, then run this again.",
            ) from None
        yield
    finally:
        os.close(fd)
