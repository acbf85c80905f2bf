"""Where people are who come for this: a deep image of Docker's own, and no inodes left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux.loopback import loop_file_system
from tests.docker import nasty, truth
from tests.docker.conftest import start_all
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import (
    Entry,
    Image,
    directory,
    image_archive,
    symlink,
    whiteout,
)
from tests.support.sources import ROOT
from tests.support.used import used

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

LAYERS, FREE = 20, 190
ALLOWED = 100
"""Inodes, whatever the number of layers."""

# Made by the daemon's own builder; the layers below are loaded, which takes less time.
_STEPS = (
    "rm -r /d3 /d4/link && echo replaced > /d5/file",
    "mv /d6 /moved && rm -r /d7 && mkdir /d7 && echo new > /d7/new",
    "ln /d8/file /d8/again && chmod 4711 /d9/file && rm -r /moved/sub",
)


@pytest.fixture
def disk(work: Path) -> Iterator[Path]:
    with loop_file_system("ext4", work, 512 << 20, inodes=8192) as mount_point:
        yield mount_point


def test_in_place_and_back(disk: Path, work: Path) -> None:
    data_root = disk / "docker"
    with Daemon(data_root, "overlay", work / "old") as daemon:
        fill(daemon)
        before = truth.record(daemon)
    assert len(truth.saved(before)) == len(before["images"])
    assert LAYERS in [
        len(said["inspect"]["RootFS"]["Layers"]) for said in before["images"].values()
    ]
    (container,) = before["containers"].values()
    assert "error" not in container["export"]
    assert "C /d2/file" in container["diff"]

    filler = Filler(disk, os.statvfs(disk).f_ffree - FREE)
    filler.take()
    full = used(disk)
    tell("in place", measured(disk, data_root, "run", "--in-place") - full, used(disk) - full)
    filler.give_back()
    with Daemon(data_root, "overlay2", work / "new") as daemon:
        assert truth.compare(before, truth.record(daemon)) == []
    filler.take()
    tell("and back", measured(disk, data_root, "rollback") - full, used(disk) - full)
    filler.give_back()
    with Daemon(data_root, "overlay", work / "old") as daemon:
        assert truth.compare(before, truth.record(daemon)) == []
        assert set(start_all(daemon).values()) == {"started"}


def fill(daemon: Daemon) -> None:
    """An image of many layers, and a container that has changed something of several."""
    loaded = tuple(layer(number) for number in range(LAYERS - 1 - len(_STEPS)))
    daemon.docker("load", stdin=image_archive(Image(("loaded:1",), loaded), nasty.base()))
    daemon.build("deep:1", "\n".join(["FROM loaded:1", *(f"RUN {step}" for step in _STEPS)]))
    change = "rm -r /d1 && echo mine > /d2/file && mkdir /own && ln -s /d2 /own/link"
    daemon.docker("run", "--name", "changed", "--network=none", "deep:1", "sh", "-c", change)


def layer(number: int) -> tuple[Entry, ...]:
    """Something new, something replaced, and something hidden."""
    here, below = f"d{number}", f"d{number - 1}"
    entries = [directory(f"{here}{name}") for name in ("", "/sub", "/sub/a", "/sub/b", "/gone")]
    entries += [Entry(f"{here}/{name}", content=here.encode()) for name in ("file", "sub/file")]
    entries += [symlink(f"{here}/link", "file")]
    if number:
        entries += [whiteout(f"{below}/gone"), Entry(f"{below}/sub/file", content=b"replaced")]
    return tuple(entries)


class Filler:
    """Files that take so many inodes."""

    def __init__(self, disk: Path, number: int) -> None:
        self._place, self._number = disk / "filler", number - 1

    def take(self) -> None:
        self._place.mkdir()
        for number in range(self._number):
            (self._place / str(number)).touch()

    def give_back(self) -> None:
        shutil.rmtree(self._place)


def measured(disk: Path, data_root: Path, *command: str) -> int:
    """The most inodes in use that were seen, each millisecond, while a migration did this."""
    ovl1 = [sys.executable, "-m", "ovl1", "--data-root", str(data_root), "migrate", *command]
    highest = 0
    with subprocess.Popen(
        ovl1,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        while process.poll() is None:
            highest = max(highest, used(disk))
            time.sleep(0.001)
        assert process.returncode == 0, process.stdout.read().decode(errors="replace")
    return highest


def tell(what: str, peak: int, after: int) -> None:
    sys.stdout.write(f"{LAYERS} layers {what}: {peak:+} inodes at most, {after:+}\n")
    assert peak < ALLOWED
