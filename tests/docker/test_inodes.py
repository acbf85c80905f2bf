"""What the accountant foretells, against real daemons: to the inode what they then take or free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from ovl1.cli.freed import measured
from ovl1.inodes.lineage import (
    DOCKER_OVERLAY,
    DOCKER_OVERLAY2,
    IDEAL,
    OVERLAY,
    OVERLAY2,
    VFS,
)
from ovl1.linux.loopback import loop_file_system
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import (
    HAND_MADE,
    REFUSED_BY_OVERLAY2,
    Entry,
    Image,
    image_archive,
    layer_tar,
)
from tests.support.image_cli import Ovl1
from tests.support.pairs import PAIRS, need
from tests.support.used import plainly_counted, used, used_in_the_end, whiteouts

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "mkfs.xfs", "busybox"),
    pytest.mark.timeout(300),
]

LAYOUTS = {"overlay": DOCKER_OVERLAY, "overlay2": DOCKER_OVERLAY2, "vfs": VFS}
KINDS = ("ext4", "xfs")
# xfs keeps its indexes of free space and inodes, which also change, in the same space.
XFS_SLACK = 64 << 10
# And inodes, which it gives back where 64 neighbours are free.
XFS_INODE = 512
STEPS = f"FROM {nasty.BASE}\nRUN mkdir /d && echo 1 > /d/f && ln /d/f /d/g && ln -s d /l\n"
RUN = ("run", "--network=none", "--name")


def archive(image: Image) -> bytes:
    """Without the entry whose minor number xfs has no room for."""
    layers = (tuple(e for e in layer if e.name != "big-minor") for layer in image.layers)
    return image_archive(image._replace(layers=tuple(layers)), nasty.base())


def accountant(daemon: Daemon) -> Ovl1:
    return Ovl1(daemon.data_root, daemon.driver or "", daemon.work / "run")


@pytest.mark.parametrize(("kind", "driver"), PAIRS)
def test_docker_takes_and_frees_what_was_foretold(
    kind: str, driver: str, full: bool, tmp_path: Path, work: Path
) -> None:
    """One thing after the other, each by the store that is then there."""
    need(kind, driver, full=full)
    with loop_file_system(kind, tmp_path, 1 << 30) as disk, Daemon(
        disk.resolve() / "docker", driver, work / "daemon"
    ) as daemon:
        for number, image in enumerate(HAND_MADE):
            path = tmp_path / f"{number}.tar"
            path.write_bytes(archive(image))
            load(daemon, image.tags, path)
        daemon.docker("import", "-", nasty.BASE, stdin=nasty.base())
        daemon.build("built:1", STEPS)
        changes = "rm -r /d /bin/ls; echo 1 > /new; ln /new /newer; chmod 700 /bin/busybox"
        daemon.docker(*RUN, "written", "built:1", "sh", "-c", changes)
        committed(daemon)
        remove(daemon, kind, containers=["written"])
        remove(daemon, kind, images=["built:1"])
        remove(daemon, kind, containers=["created"], images=["committed:1"])
        remove(daemon, kind, images=["nasty/odd:1"])
        remove(daemon, kind, images=["nasty/odd:on-top", "nasty/odd:also", "nasty/deep:1"])
        remove(daemon, kind, images=["nasty/replaced:1", "nasty/replaced:latest"])
        remove(daemon, kind, images=["nasty/unreplaced:1", nasty.BASE])


def load(daemon: Daemon, tags: Sequence[str], path: Path) -> None:
    layout = LAYOUTS[daemon.driver or ""]
    told = accountant(daemon).json("inodes", "forecast", "--layout", layout, str(path))
    added = told["layouts"][layout]
    if REFUSED_BY_OVERLAY2 in tags and daemon.driver == "overlay2":
        assert added["inodes"] is None
        assert "is not there" in added["refused"]
        return
    assert added["refused"] == ""
    before = used(daemon.data_root)
    daemon.docker("load", "-i", str(path))
    now = used_in_the_end(daemon.data_root, before + added["inodes"])
    assert (tags, now - before) == (tags, added["inodes"])


def remove(
    daemon: Daemon, kind: str, *, containers: Sequence[str] = (), images: Sequence[str] = ()
) -> None:
    targets = [*containers, *images]
    told = accountant(daemon).json("inodes", "free", *targets)
    with measured(daemon.data_root) as freed:
        if containers:
            daemon.docker("rm", *containers)
        if images:
            daemon.docker("rmi", *images)
    assert (targets, freed.inodes) == (targets, told["inodes"])
    slack = XFS_SLACK if kind == "xfs" else 0
    more = XFS_INODE * told["inodes"] if kind == "xfs" else 0
    # On xfs, what a container has only chmodded has its blocks in common with the image's file.
    assert (told["shared_bytes"] > 0) == (kind == "xfs" and "written" in targets)
    expected = told["bytes"] - told["shared_bytes"]
    assert -slack <= freed.bytes - expected <= slack + more, targets


@pytest.mark.parametrize("kind", KINDS)
def test_docker_takes_what_was_forecast_for_vfs(
    kind: str, full: bool, tmp_path: Path, work: Path
) -> None:
    """A store of that driver cannot be read: as if it had nothing but a first image."""
    need(kind, VFS, full=full)
    paths = []
    for number, image in enumerate(HAND_MADE):
        paths.append(tmp_path / f"{number}.tar")
        paths[-1].write_bytes(archive(image))
    with loop_file_system(kind, tmp_path, 1 << 30) as disk, Daemon(
        disk.resolve() / "docker", "vfs", work / "daemon"
    ) as daemon:
        daemon.docker("import", "-", "first:1", stdin=layer_tar([Entry("first")]))
        nothing = Ovl1(work, "overlay", work / "run")
        told = nothing.json("inodes", "forecast", "--empty", "--layout", VFS, *map(str, paths))
        expected = told["layouts"][VFS]["inodes"]
        before = used(disk)
        for path in paths:
            daemon.docker("load", "-i", str(path))
        assert used_in_the_end(disk, before + expected) - before == expected


@pytest.mark.parametrize("kind", KINDS)
def test_migrating_takes_what_was_predicted(kind: str, tmp_path: Path, work: Path) -> None:
    with loop_file_system(kind, tmp_path, 1 << 30) as disk:
        with Daemon(disk.resolve() / "docker", "overlay", work / "daemon") as daemon:
            fill(daemon)
            committed(daemon)
        store = accountant(daemon)
        told = store.json("inodes", "predict", "--layout", "overlay2")
        then = told["layouts"][OVERLAY2]
        assert plainly_counted(store.data_root) == told["home"] + told["rest"]
        own = used(disk) - told["home"] - told["rest"]
        store("migrate", "run")
        store("migrate", "purge")
        assert used_in_the_end(disk, own + then["data_root"]) == own + then["data_root"]
        assert then["home"] < told["home"]
        assert plainly_counted(store.data_root / "overlay2") == then["home"]
        hidden = whiteouts(store.data_root / "overlay2")
        assert len(hidden) > len(set(hidden)) == 1
        migrated = Ovl1(store.data_root, "overlay2", store.runtime)
        again = migrated.json("inodes", "predict", "--layout", "overlay2")
        assert again["home"] == then["home"]


def committed(daemon: Daemon) -> None:
    """An image of what a container has changed, and a container of it that was never started."""
    daemon.docker("commit", "written", "committed:1")
    daemon.docker("create", "--network=none", "--name", "created", "committed:1", "sh")


def fill(daemon: Daemon) -> None:
    daemon.docker("import", "-", nasty.BASE, stdin=nasty.base())
    for image in HAND_MADE:
        if image.tags[0].startswith(("nasty/odd", "nasty/replaced", "nasty/unreplaced")):
            daemon.docker("load", stdin=archive(image))
    changes = "rm /gone-file; echo 1 > /new; ln /new /newer; chmod 700 /bin/busybox"
    daemon.docker(*RUN, "written", "nasty/unreplaced:1", "sh", "-c", changes)


def test_other_drivers_take_what_was_predicted(disk: Path, work: Path) -> None:
    homes: Dict[str, int] = {}
    told: Dict[str, Any] = {}
    for driver in LAYOUTS:
        with Daemon(disk.resolve() / driver, driver, work / driver) as daemon:
            fill(daemon)
        homes[driver] = plainly_counted(disk / driver / driver)
        if driver != "vfs":
            told[driver] = accountant(daemon).json("inodes", "predict")
    for driver, prediction in told.items():
        found = {name: layout["home"] for name, layout in prediction["layouts"].items()}
        assert prediction["home"] == homes[driver]
        assert found[DOCKER_OVERLAY] == homes["overlay"]
        assert found[VFS] == homes["vfs"]
        if driver == "overlay2":
            assert found[OVERLAY2] == homes["overlay2"]
        assert found[IDEAL] < found[OVERLAY2] < found[OVERLAY] < found[DOCKER_OVERLAY] < found[VFS]
    assert factors(told["overlay"]) == factors(told["overlay2"])


def factors(prediction: Any) -> List[float]:
    return sorted(image["factor"] for image in prediction["images"])
