"""What a migration costs as stores grow, next to the other ways to a second store.

Each store lies on an ext4 of its own. Before each measurement all caches are dropped, and what was
written is on the disk at its end. Files are empty: what is measured is names.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Union

from ovl1.linux.loopback import GIB, loop_file_system
from tests.docker.daemon import Daemon
from tools.bench.bigstore import Shape, make_store
from tools.bench.inodes import drop_caches
from tools.bench.measure import Figures, Table, run

COPY, SAVE_LOAD = "cp -al", "docker save | docker load"
RUN, VERIFY, IN_PLACE = "migrate run --no-verify", "migrate verify", "--in-place --no-verify"

_PEAK = Path(__file__).with_name("peak.py")
_MIB = 1 << 20
_STORES = 3
"""There is room for the old store, the new one, and what `docker load` makes."""
_BYTES_PER_INODE = 6000


def grown(shape: Shape, directory: Path, *, docker: bool) -> Table:
    """Figures of each way, for a store of this shape.

    Args:
        directory: where the file with the file system is made, sparse.
        docker: with `docker save | docker load`, by daemons of their own.
    """
    inodes = shape.inodes * _STORES
    with loop_file_system(
        "ext4", directory, 2 * GIB + inodes * _BYTES_PER_INODE, inodes=inodes
    ) as disk, tempfile.TemporaryDirectory(prefix="b-") as work:
        data_root = disk.resolve() / "docker"
        make_store(data_root, shape)
        table = {COPY: _command(["cp", "-al", data_root / "overlay", disk / "copy"])}
        shutil.rmtree(disk / "copy")
        if docker:
            table[SAVE_LOAD] = _saved_and_loaded(data_root, disk / "loaded", Path(work), shape)
            # A migration that finds too little left counts first what it needs.
            shutil.rmtree(disk / "loaded")
        table[RUN] = _migrate(data_root, "run", "--no-verify")
        table[VERIFY] = _migrate(data_root, "verify")
        _migrate(data_root, "rollback")
        table[IN_PLACE] = _migrate(data_root, "run", "--in-place", "--no-verify")
    return with_ratios(table)


def with_ratios(table: Table) -> Table:
    """Add to each row how many times as long as a copy by hard links it takes."""
    copy = table[COPY]["seconds"]
    return {
        row: {**figures, "of cp -al": figures["seconds"] / copy} for row, figures in table.items()
    }


def _migrate(data_root: Path, *command: str) -> Figures:
    ovl1: List[Union[str, Path]] = [sys.executable, "-m", "ovl1", "-q", "--data-root", data_root]
    return _command([*ovl1, "migrate", *command])


def _command(command: Sequence[Union[str, Path]]) -> Figures:
    figures: Dict[str, float] = {}

    def action() -> None:
        said = json.loads(run([sys.executable, _PEAK, *command]).output)
        figures.update(cpu=said["cpu"], MiB=said["peak"] / _MIB)

    return {"seconds": _until_on_disk(action), **figures}


def _until_on_disk(action: Callable[[], None]) -> float:
    os.sync()
    drop_caches()
    started = time.monotonic()
    action()
    os.sync()
    return time.monotonic() - started


def _saved_and_loaded(data_root: Path, other: Path, work: Path, shape: Shape) -> Figures:
    """Of daemons only the time is known: what they take otherwise is theirs from the start."""
    image = f"big:{shape.layers}"
    with Daemon(data_root, "overlay", work / "old") as old, Daemon(
        other, "overlay2", work / "new"
    ) as new:

        def action() -> None:
            with old.streaming("save", image) as stream:
                new.docker("load", source=stream)

        return {"seconds": _until_on_disk(action)}
