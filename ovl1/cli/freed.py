"""How many inodes and bytes of a file system came free, as measured."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

from ovl1.cli import output
from ovl1.linux import durable

_MOMENT = 0.05


@dataclass
class Freed:
    """Filled when the block ends."""

    inodes: Optional[int] = None
    """None where the file system does not count them."""
    bytes: int = 0

    def __str__(self) -> str:
        inodes = "" if self.inodes is None else f"{self.inodes} inodes and "
        return f"{inodes}{output.human_size(max(0, self.bytes))} came free"


@contextlib.contextmanager
def measured(path: Path) -> Iterator[Freed]:
    """What comes free in the block on the file system of `path`."""
    freed = Freed()
    before = _free(path)
    yield freed
    after = _free(path)
    # btrfs makes inodes as it needs them, and has none to count.
    freed.inodes = after.f_ffree - before.f_ffree if after.f_files else None
    freed.bytes = (after.f_bfree - before.f_bfree) * after.f_frsize


def _free(path: Path) -> os.statvfs_result:
    # What was deleted counts as free only once it has reached the disk, on xfs a moment later.
    durable.sync_file_system(path)
    before, now = None, os.statvfs(path)
    while now != before:
        time.sleep(_MOMENT)
        before, now = now, os.statvfs(path)
    return now
