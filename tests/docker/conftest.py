"""Where the daemons of these tests live: a loop ext4 each, and short socket paths."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from ovl1.linux.loopback import loop_file_system
from tests.docker import nasty, truth
from tests.docker.daemon import Daemon, DockerError


class NastyStore(NamedTuple):
    """The nasty store as an overlay daemon left it, and what that daemon said about it."""

    data_root: Path
    work: Path
    truth: truth.Truth
    starts: dict[str, str]

    def daemon(self, driver: str | None) -> Daemon:
        return Daemon(self.data_root, driver, self.work / "daemon")


def start_all(daemon: Daemon) -> dict[str, str]:
    """Start each container; its name, and the kind of error if it could not be started."""
    outcomes = {}
    for name in daemon.docker("ps", "-a", "--format", "{{.Names}}").split():
        try:
            daemon.docker("start", name)
            outcomes[name] = "started"
        except DockerError as error:
            outcomes[name] = truth.kind(error)
    return outcomes


@pytest.fixture
def work() -> Iterator[Path]:
    """A directory with a path short enough for the sockets of daemons."""
    with tempfile.TemporaryDirectory(prefix="d-") as name:
        yield Path(name)


@pytest.fixture
def disk(work: Path) -> Iterator[Path]:
    """An empty ext4, where data-roots can be made."""
    with loop_file_system("ext4", work) as mount_point:
        yield mount_point


@pytest.fixture(scope="module")
def original() -> Iterator[NastyStore]:
    """Made once; a test gets it as `store`, which is anew as the daemon left it each time."""
    with tempfile.TemporaryDirectory(prefix="d-") as name, loop_file_system(
        "ext4", Path(name)
    ) as disk:
        store = NastyStore(disk / "docker", Path(name), {}, {})
        with store.daemon("overlay") as daemon:
            nasty.build(daemon)
            said = truth.record(daemon)
            daemon.stop()
            _copy(store.data_root, _pristine(store))
            daemon.start()
            starts = start_all(daemon)
        yield store._replace(truth=said, starts=starts)


@pytest.fixture
def store(original: NastyStore) -> NastyStore:
    """The nasty store, not running, to be changed at will."""
    shutil.rmtree(original.data_root)
    _copy(_pristine(original), original.data_root)
    return original


def _pristine(store: NastyStore) -> Path:
    return store.data_root.with_name("pristine")


def _copy(source: Path, target: Path) -> None:
    """With hardlinks, devices, sockets, sparse files and all extended attributes."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
