"""Stores that daemons of several ages wrote, before and after their migration."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.docker import trees, truth
from tests.docker.daemon import Daemon
from tests.docker.ovl1 import REFUSED, migrate, ovl1
from tests.support.captured import extracted

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4"),
    pytest.mark.timeout(900),
]


def daemon_on(data_root: Path, driver: str, work: Path) -> Daemon:
    """It sees the store where the containers' files say it is."""
    return Daemon(data_root, driver, work / "daemon", seen_as=Path("/var/lib/docker"))


# Images in the store; containers; images that 20.10.24 itself cannot save.
EXPECTED = {
    "v2010-overlay": (52, 37, ["aufsy:1"]),
    "v112-overlay": (50, 32, ["aufsy:1"]),
}


@pytest.mark.parametrize("mode", ["side by side", "in place", "elsewhere"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_migrated_store_says_the_same(
    name: str, mode: str, disk: Path, work: Path, full: bool
) -> None:
    # The nasty store is one of 20.10, too.
    if not full and (name, mode) != ("v112-overlay", "side by side"):
        pytest.skip("the other ways and the newer store in the long form")
    data_root = extracted(name, disk)
    with daemon_on(data_root, "overlay", work) as daemon:
        # One would run its command again at each start of a daemon, and write.
        daemon.docker("update", "--restart=no", *daemon.docker("ps", "-aq").split())
        before = truth.record(daemon)
    assert (len(before["images"]), len(before["containers"]), unsaveable(before)) == EXPECTED[name]

    if mode == "elsewhere":
        ovl1(data_root, "migrate", "run", "--to", str(disk / "new"))
        data_root = disk / "new"
        ovl1(data_root, "migrate", "verify")
    else:
        migrate(data_root, *(["--in-place"] if mode == "in place" else []))
    with daemon_on(data_root, "overlay2", work) as daemon:
        differences = truth.compare(before, truth.record(daemon))
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("name", EXPECTED)
def test_rollback_leaves_no_trace(name: str, disk: Path, full: bool) -> None:
    if name != "v2010-overlay" and not full:
        pytest.skip("the older store in the long form")
    data_root = extracted(name, disk)
    before = trees.manifest(data_root)
    ovl1(data_root, "migrate", "run")
    ovl1(data_root, "migrate", "rollback")
    differences = list(trees.changed(before, trees.manifest(data_root)))
    assert not differences, "\n".join(differences)


def test_a_store_from_before_1_10_is_left_alone(disk: Path) -> None:
    data_root = extracted("v191-overlay", disk)
    before = trees.manifest(data_root)
    ovl1(data_root, "migrate", "run", expect=REFUSED)
    assert not list(trees.changed(before, trees.manifest(data_root)))


def unsaveable(said: truth.Truth) -> list[str]:
    """Tags of the images that the daemon cannot save."""
    return sorted(_tags(said, set(said["images"]) - set(truth.saved(said))))


def _tags(said: truth.Truth, images: set[str]) -> Iterator[str]:
    for image in images:
        yield from said["images"][image]["inspect"]["RepoTags"]
