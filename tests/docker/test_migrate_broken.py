"""A real daemon on what is left of a store with broken parts: it stumbles over none of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ovl1.store.store import Store
from tests.docker import nasty, trees
from tests.docker.daemon import Daemon
from tests.docker.ovl1 import migrate, ovl1

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

GOOD, BROKEN = ("base:1", "whole:1"), ("no-tree:1", "empty:1", "changed:1")
STANDS = {"on-whole": "whole:1", "unconfigured": "whole:1", "dead": "whole:1"}
FALLS = {"on-no-tree": "no-tree:1", "on-empty": "empty:1", "no-mount": "whole:1", "torn": "whole:1"}
COMPLAINTS = ("layer does not exist", "failed to load container mount", "invalid image")


def build(daemon: Daemon) -> None:
    daemon.docker("import", "-", "base:1", stdin=nasty.base())
    for name in (*GOOD[1:], *BROKEN):
        daemon.build(name, f"FROM base:1\nRUN echo {name} > /name\n")
    for name, image in {**STANDS, **FALLS}.items():
        daemon.docker("create", "--name", name, "--network=none", image, "cat", "/name")


def damage(data_root: Path) -> None:
    """What crashes, full disks and manual ``rm -rf`` leave."""
    store = Store.open(data_root)
    layout = store.layout

    def config_of(name: str) -> Path:
        return store.container(name).config_path

    def mount_of(name: str) -> Path:
        return layout.mount(store.container(name).container_id)

    no_tree, empty = store.image("no-tree:1"), store.image("empty:1")
    assert no_tree.top
    assert empty.top
    shutil.rmtree(layout.layer(store.layers[no_tree.top].cache_id))
    for path in layout.record(empty.top).iterdir():
        path.write_bytes(b"")
    changed = layout.image_config(store.image("changed:1").image_id)
    changed.write_bytes(b"")
    config_of("unconfigured").write_bytes(b"")
    shutil.rmtree(mount_of("no-mount"))
    layout.lower_id(store.mounts[store.container("torn").container_id].mount_id).write_text("f")
    config = json.loads(config_of("dead").read_text())
    config["State"].update(Dead=True, RemovalInProgress=True)
    config_of("dead").write_text(json.dumps(config))
    whole = store.image("whole:1").top
    assert whole
    shutil.copytree(layout.record(whole), layout.layers / f"{'a' * 64}-{'b' * 64}-removing")
    (layout.staging / "write-set-123").mkdir(parents=True, exist_ok=True)


def test_it_sees_what_is_whole_and_nothing_else(disk: Path, work: Path) -> None:
    data_root = disk / "docker"
    with Daemon(data_root, "overlay", work / "daemon") as daemon:
        build(daemon)
        images = {name: daemon.docker("image", "inspect", "-f", "{{.Id}}", name) for name in GOOD}
    damage(data_root)
    before = trees.manifest(data_root)
    ovl1(data_root, "migrate", "run")
    ovl1(data_root, "migrate", "rollback")
    assert not list(trees.changed(before, trees.manifest(data_root)))
    migrate(data_root)
    with Daemon(data_root, "overlay2", work / "new") as daemon:
        assert {
            name: daemon.docker("image", "inspect", "-f", "{{.Id}}", name) for name in GOOD
        } == images
        listed = daemon.docker("images", "-a", "--format", "{{.Repository}}:{{.Tag}}").split()
        assert sorted(listed) == sorted(GOOD)
        # What was dead is so still, and can be removed.
        assert "Dead" in daemon.docker("ps", "-a", "--filter", "name=dead")
        daemon.docker("rm", "dead")
        assert daemon.docker("ps", "-a", "--format", "{{.Names}}").split() == ["on-whole"]
        assert daemon.docker("start", "-a", "on-whole") == "whole:1"
        log = daemon.log.read_text()
        assert not [line for line in log.splitlines() if any(word in line for word in COMPLAINTS)]
        # What was left out can be made again under the same names.
        daemon.build("empty:1", "FROM base:1\nRUN echo again > /name\n")
        assert daemon.docker("run", "--rm", "--network=none", "empty:1", "cat", "/name") == "again"
        daemon.docker("create", "--name", "torn", "empty:1", "true")
