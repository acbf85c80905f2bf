"""``ovl1 bench inodes --docker``: Docker's own layouts, to the inode, and no trace of it after."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from ovl1.bench.dockerd import Dockerd, find
from ovl1.cli.main import INTERRUPTED
from ovl1.errors import NotPossibleHere, OvlError
from ovl1.linux import mounts
from ovl1.linux.loopback import loop_file_system
from tests.support.bench_cli import assert_measured, bench, stopped

pytestmark = pytest.mark.needs("root", "overlay", "loop", "dockerd", "mkfs.ext4", "mkfs.xfs")

SMALL = ("--files", 60, "--dirs", 12, "--symlinks", 9, "--change", 0.1, "--add", 0.1)
THEIRS = ("--docker", "--layout", "docker-overlay", "--layout", "docker-overlay2")


@pytest.fixture
def scratch(work: Path) -> Path:
    """With a path short enough for sockets."""
    return work


def test_docker_takes_what_was_predicted(scratch: Path, full: bool) -> None:
    kinds: Tuple[str, ...] = ("ext4", "xfs") if full else ("ext4",)
    options = [option for kind in kinds for option in ("--fs", kind)]
    values = bench(scratch, *SMALL, "--layers", 3, "--docker", *options)
    assert_measured(values, built=4 * len(kinds), steps=3)
    assert values["dockerd"].startswith("2")
    last = {point["layout"]: point["inodes"] for point in values["points"]}
    assert last["docker-overlay"] == last["overlay"] + 2 * 9, "links are made anew in each layer"
    assert last["docker-overlay2"] == last["overlay2"]


def test_nothing_stays_when_it_is_stopped(scratch: Path) -> None:
    many = ("--files", 3000, "--dirs", 300, "--layers", 30, "--fs", "ext4")
    assert stopped(scratch, signal.SIGINT, "--storage-driver", *many, *THEIRS) == INTERRUPTED


def nothing() -> None:
    """There is nobody to stop it."""


@pytest.fixture
def place(scratch: Path) -> Iterator[Tuple[Path, Path]]:
    """A file system for a daemon's store, and a directory for the rest of it."""
    with loop_file_system("ext4", scratch) as disk, tempfile.TemporaryDirectory(
        dir=scratch, prefix=""
    ) as rest:
        yield disk / "docker", Path(rest)


def test_a_daemon_that_does_not_come_up(place: Tuple[Path, Path]) -> None:
    daemon = Dockerd(find(), "no-such-driver", *place, nothing)
    with daemon, pytest.raises(NotPossibleHere, match="does not come up") as caught:
        daemon.start()
    assert "driver not supported" in caught.value.details


def test_what_docker_refuses(place: Tuple[Path, Path]) -> None:
    with Dockerd(find(), "overlay2", *place, nothing) as daemon:
        daemon.start()
        with pytest.raises(OvlError, match=r"could not load|says no"):
            daemon.load([b"this is no tar" * 1000])
        with pytest.raises(OvlError, match="says no"):
            daemon.remove("no-such-image")
        assert daemon.stop() > 10 << 20


def test_nothing_stays_of_a_daemon_that_is_killed(place: Tuple[Path, Path]) -> None:
    """The mount of its data-root on itself stays, and would keep the file system."""
    with Dockerd(find(), "overlay", *place, nothing) as daemon:
        daemon.start()
        assert mounts.mounted_below(place[0].parent)
    assert not mounts.mounted_below(place[0].parent)


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match="too long"):
        Dockerd(find(), "overlay", tmp_path / "docker", tmp_path / ("x" * 90), nothing).start()
    assert list(tmp_path.iterdir()) == []
