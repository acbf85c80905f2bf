"""The report on stores that real daemons made: to the inode what the file system says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, Set, Tuple

import pytest

from ovl1.inodes.attribute import report
from ovl1.inodes.report import Report
from ovl1.linux.loopback import loop_file_system
from ovl1.store.store import Store
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.ovl1 import ovl1
from tests.support.used import plainly_counted, used, used_in_the_end

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "mkfs.xfs", "busybox"),
    pytest.mark.timeout(300),
]

_DOCKERFILE = """\
FROM base:1
RUN mkdir -p /usr/share/doc/a /usr/share/doc/b && touch /usr/share/doc/a/f && ln -s a /usr/share/l
RUN ln /usr/share/doc/a/f /usr/share/doc/b/g && mkfifo /p
RUN rm -r /usr/share/doc/a && echo x > /usr/share/doc/b/new
"""


def fill(daemon: Daemon, *, everything: bool) -> None:
    if everything:
        nasty.build(daemon)
    daemon.docker("import", "-", "base:1", stdin=nasty.base())
    daemon.build("app:1", _DOCKERFILE)
    daemon.docker("tag", "app:1", "app:latest")
    daemon.build("app:2", "FROM app:1\nRUN touch /two\n")
    daemon.docker("create", "--name", "made", "app:1", "true")
    daemon.docker("run", "--name", "ran", "--network=none", "app:2", "touch", "/in", "/etc/new")
    daemon.docker("run", "-d", "--name", "runs", "--network=none", "app:2", "sleep", "1000")
    daemon.docker("volume", "create", "volume")


def told(data_root: Path, driver: str) -> Report:
    made = report(Store.open(data_root, driver), overlay2=False)
    assert made.unreadable == ()
    return made


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("driver", ["overlay", "overlay2"])
def test_every_inode_is_accounted_for(
    kind: str, driver: str, tmp_path: Path, work: Path, full: bool
) -> None:
    """While the daemon runs, and when it has stopped."""
    with loop_file_system(kind, tmp_path, 2 << 30) as disk:
        empty = used(disk)
        data_root = disk.resolve() / "docker"
        with Daemon(data_root, driver, work / "daemon") as daemon:
            # xfs has no room for the minor number of one of their devices.
            fill(daemon, everything=full and kind == "ext4")
            live = told(data_root, driver)
            assert live.total + empty == used_in_the_end(data_root, live.total + empty)
            mounted = {use.name: use for use in live.layers}
            images = daemon.docker("images", "-aq", "--no-trunc").split()
            containers = named(daemon)
        cold = told(data_root, driver)
        assert cold.total + empty == used_in_the_end(data_root, cold.total + empty)
        assert cold.total == plainly_counted(data_root)
        assert not cold.moving
        assert (cold.file_system.own, cold.elsewhere) == (empty, 0)
        assert {image.id for image in cold.images} == set(images)
        assert {share.id: share.names for share in cold.containers} == containers
        # Image layers are what they were; containers have lost their mount points.
        assert {use for use in cold.layers if use.kind == "image"} <= set(mounted.values())
        check_shares(Store.open(data_root, driver), cold)
        check_command(data_root, driver, cold)


def named(daemon: Daemon) -> Dict[str, Tuple[str, ...]]:
    lines = daemon.docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}").splitlines()
    return {line.split()[0]: (line.split()[1],) for line in lines}


def check_shares(store: Store, made: Report) -> None:
    """Layers, images, containers and kinds add up; a layer is own where no other stands on it."""
    uses = {use.name: use for use in made.layers}
    assert sum(share.inodes for share in made.kinds) == sum(use.inodes for use in made.layers)
    assert made.home + sum(use.inodes for use in made.layers) == made.in_layers
    chains = {str(image_id): store.chain(image) for image_id, image in store.images.items()}
    standing: Dict[str, Set[str]] = {}
    for image_id, chain in chains.items():
        for record in chain:
            standing.setdefault(record.cache_id, set()).add(image_id)
    for container_id, mount in store.mounts.items():
        for record in store.parts.layers.chain(mount.parent) if mount.parent else []:
            standing[record.cache_id].add(container_id)
    for share in made.images:
        layers = [record.cache_id for record in chains[share.id]]
        assert share.inodes == sum(uses[layer].inodes for layer in layers)
        own = [layer for layer in layers if standing[layer] == {share.id}]
        assert share.own == sum(uses[layer].inodes for layer in own)
    assert {name for share in made.images for name in share.names} == set(store.references.tags)


def check_command(data_root: Path, driver: str, made: Report) -> None:
    """The command says the same."""
    found = json.loads(ovl1(data_root, "--driver", driver, "--json", "inodes", "report"))
    assert found["total"] == made.total
    assert found["tags"]["app:latest"]["frees"] == 0
    assert found["file_system"]["elsewhere"] == 0
    text = ovl1(data_root, "--driver", driver, "inodes", "report")
    for word in ("app:1 app:latest", "made", "runs", "What the figures mean", str(made.total)):
        assert word in text
