"""One at a time: advisory locks that are gone with the process that holds them.

`exclusive` is taken on a directory itself, so nothing is written into the store for it; `held`
is taken on a file of its own, which may hold a record of what the lock guards. Both are flock(2),
taken on a file opened anew, so they hold between threads as well as between processes.
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


@contextlib.contextmanager
def held(path: Path) -> Iterator[int]:
    """Wait for the lock file at `path`, made if missing, and hold it for the time of the block.

    Whoever holds it may write into the file, and may remove it: those who wait then go on with a
    new one. Not reentrant.

    Yields:
        The file's descriptor, open for reading and writing.
    """
    fd = _locked(path)
    while not _is_at(fd, path):
        os.close(fd)
        fd = _locked(path)
    try:
        yield fd
    finally:
        # Closing alone would not do: a child forked meanwhile may have the file open, too.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
