"""The file that keeps Docker away from a store that is being changed, whoever starts it and when.

It stands where a driver's directory would be. A daemon that is told this driver cannot make its
directories below it (``ENOTDIR``); one that chooses for itself takes the driver for one that was
used here before, tries it with the same end, and gives up rather than beginning an empty store with
another (moby daemon/graphdriver ``New``, ``scanPriorDrivers``). So it holds over a crash and a
restart of the machine. Limit: a daemon that is told yet another driver starts with that one's
store, and does not see ours.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ovl1.linux import durable

TEXT = "A change of this store is not finished: run `ovl1 migrate status`.\n"


def put(path: Path) -> None:
    """Make the barrier, whole; durable. One that is there already is fine.

    Raises:
        FileExistsError: something else is there.
    """
    if is_barrier(path):
        return
    if os.path.lexists(path):
        raise FileExistsError(f"cannot keep Docker away: {path} exists")
    durable.write_file(path, TEXT.encode(), mode=0o444)


def remove(path: Path) -> None:
    """Remove the barrier; durable. None there is fine, and what is no barrier stays."""
    with contextlib.suppress(FileNotFoundError):
        durable.temporary(path).unlink()
    if is_barrier(path):
        path.unlink()
    durable.sync_directory(path.parent)


def is_barrier(path: Path) -> bool:
    """Whether there is a barrier at `path`; follows no link."""
    try:
        return path.is_file() and not path.is_symlink() and path.read_bytes() == TEXT.encode()
    except FileNotFoundError:
        return False
