"""A store that ovl1 made, whole or while it was being loaded, is one that a daemon opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ovl1.images.verify import verify_layer
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import AFTER, BEFORE, Image, image_archive
from tests.support.child import in_child
from tests.support.image_cli import Ovl1
from tests.support.moments import KILLED, Point, killed

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

APP = Image(("app:1",), (BEFORE, AFTER))
RUN = ("run", "--rm", "--network=none", "app:1", "cat", "/opaque/new")


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def ovl1(request: pytest.FixtureRequest, disk: Path, work: Path) -> Ovl1:
    (disk / "docker").mkdir()
    return Ovl1(disk / "docker", request.param, work / "run")


@pytest.fixture
def archive(work: Path) -> Path:
    path = work / "app.tar"
    path.write_bytes(image_archive(APP, nasty.base()))
    return path


def test_an_empty_data_root_becomes_dockers(ovl1: Ovl1, archive: Path, work: Path) -> None:
    ovl1("image", "load", str(archive))
    (image_id,) = ovl1.store().images
    # It is the only store there, so the daemon needs no advice.
    with Daemon(ovl1.data_root, None, work / "daemon") as daemon:
        assert daemon.docker("info", "-f", "{{.Driver}}") == ovl1.driver
        assert daemon.docker("images", "-aq", "--no-trunc") == image_id
        assert daemon.docker(*RUN) == "new"
        daemon.build("top:1", "FROM app:1\nRUN echo top > /top\n")
        daemon.docker("load", "-i", str(archive))
    assert ovl1.store().errors == []
    assert len(ovl1.store().images) > 1


def test_a_daemon_on_a_store_that_was_being_loaded(ovl1: Ovl1, archive: Path, work: Path) -> None:
    """All layers are entered, and no name; the engine gets the same image from elsewhere."""
    ovl1("image", "import", str(archive), "other:1")
    load = ovl1.action("image", "load", str(archive))
    counted = 0
    while in_child(killed(Point("write_file", counted, "after"), load)).code == KILLED:
        if list(ovl1.layout.image_configs.glob("*")) and len(ovl1.store().images) == 2:
            break
        counted += 1
    assert len(ovl1.store().images) == 2
    assert "app:1" not in ovl1.store().references.tags
    assert [path.name for path in ovl1.layout.staging.iterdir()] == ["ovl1-adding"]
    with Daemon(ovl1.data_root, ovl1.driver, work / "daemon") as daemon:
        daemon.docker("load", "-i", str(archive))
        assert daemon.docker(*RUN) == "new"
        daemon.docker("run", "--network=none", "--name", "user", "app:1", "sh", "-c", "echo x >/x")
    ovl1("image", "rm", "other:1")
    assert not list(ovl1.layout.staging.iterdir())
    store = ovl1.store()
    assert store.errors == []
    assert set(store.references.tags) == {"app:1"}
    assert all(verify_layer(store, record).ok for record in store.layers.values())
    with Daemon(ovl1.data_root, ovl1.driver, work / "daemon") as daemon:
        assert daemon.docker(*RUN) == "new"
        daemon.docker("start", "user")
        listed = json.loads(daemon.docker("image", "inspect", "app:1"))
        assert len(listed[0]["RootFS"]["Layers"]) == 3
