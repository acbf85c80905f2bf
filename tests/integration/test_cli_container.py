"""``ovl1 container``: what a container holds, as a tar and as an image, without a daemon."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.driver.opening import open_driver
from ovl1.images.build import create_container
from ovl1.images.verify import verify_layer
from ovl1.linux.loopback import loop_file_system
from ovl1.model import ContainerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.support.archive_members import LAYERS, docker, packed
from tests.support.image_cli import Ovl1
from tests.support.manifest import differences

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

WRONG = 2


class Store(Ovl1):
    """``app:1``, and its containers ``web``, which has changed things, and ``idle``."""

    web: ContainerId
    idle: ContainerId

    def changes(self, container_id: ContainerId) -> Path:
        """Where the container's changes lie."""
        mount_id = self.store().mounts[container_id].mount_id
        place = self.layout.upper if self.driver == OVERLAY else self.layout.diff
        return place(mount_id)


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def ovl1(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with loop_file_system("ext4", tmp_path, 64 << 20) as disk:
        (disk / "docker").mkdir()
        made = Store(disk / "docker", request.param, tmp_path / "run")
        path = tmp_path / "app.tar"
        path.write_bytes(packed(docker()))
        made("image", "load", str(path))
        driver = open_driver(made.data_root, made.driver, runtime=made.runtime)
        image_id = made.store().image("app:1").image_id
        for name in ("web", "idle"):
            container_id = create_container(driver, image_id, name, created="2020-01-01T00:00:00Z")
            setattr(made, name, container_id)
        change(made.changes(made.web))
        yield made


def change(changes: Path) -> None:
    (changes / "new").write_bytes(b"new")
    os.link(changes / "new", changes / "linked")
    (changes / "etc").mkdir()
    (changes / "etc" / "changed").write_bytes(b"changed")
    os.mknod(changes / "etc" / "new", stat.S_IFCHR, os.makedev(0, 0))
    os.symlink("/no/where", changes / "link")


def test_containers_are_listed(ovl1: Store) -> None:
    listed = {each["name"]: each for each in ovl1.json("container", "ls")}
    assert set(listed) == {"web", "idle"}
    assert listed["web"]["image_tags"] == ["app:1"]
    assert (listed["web"]["id"], listed["web"]["state"]) == (ovl1.web, "stopped")
    assert ovl1("-q", "container", "ls", "--no-trunc").out.split() == [ovl1.idle, ovl1.web]
    first, *rows = ovl1("container", "ls").out.splitlines()
    assert first.split() == ["CONTAINER", "ID", "NAME", "IMAGE", "STATE"]
    assert rows[1].split() == [ovl1.web[:12], "web", "app:1", "stopped"]


def test_an_export_is_the_whole_tree(ovl1: Store, tmp_path: Path) -> None:
    path = tmp_path / "web.tar"
    before = ovl1.manifest()
    for name in ("web", "/web", ovl1.web, ovl1.web[:12]):
        said = ovl1.json("container", "export", name, "-o", str(path))
        assert said == {"id": ovl1.web, "file": str(path), "bytes": path.stat().st_size}
    assert differences(before, ovl1.manifest()) == []
    with tarfile.open(path) as tar:
        names = [name for name in tar.getnames() if not name.startswith(".")]
        assert sorted(names) == ["etc", "etc/changed", "link", "linked", "new", "opt", "opt/fifo"]
        assert sorted(tar.getmember(name).type for name in ("linked", "new")) == [b"0", b"1"]
        assert tar.getmember("opt/fifo").isfifo()


def test_a_commit_is_an_image_with_one_layer_more(ovl1: Store) -> None:
    before = ovl1.manifest()
    about = ("--author", "Jo", "--message", "why")
    said = ovl1.json("container", "commit", "web", "rescued", *about)
    assert said["tags"] == ["rescued:latest"]
    store = ovl1.store()
    assert store.problems == ()
    image = store.image("rescued")
    assert (image.image_id, image.author) == (said["id"], "Jo")
    assert image.diff_ids[:3] == store.image("app:1").diff_ids
    assert len(image.diff_ids) == 4
    assert image.parent == store.image("app:1").image_id
    assert image.history[-1].comment == "why"
    assert verify_layer(store, store.chain(image)[0]).ok
    # The container is what it was.
    ovl1("image", "rm", "rescued")
    told = differences(before, ovl1.manifest())
    metadata = ("image/", f"{ovl1.driver}/{store.chain(image)[1].cache_id}/committed")
    assert [line for line in told if not line.startswith(metadata)] == []
    assert all("repositories.json" in line or "committed" in line for line in told), told


def test_nothing_changed_is_no_layer(ovl1: Store) -> None:
    # Docker's own files are in the layer below a container's.
    trees = set(os.listdir(ovl1.layout.home))
    ovl1("container", "commit", "idle", "idle:1")
    image = ovl1.store().image("idle:1")
    assert image.diff_ids == ovl1.store().image("app:1").diff_ids
    assert image.history[-1].empty_layer
    assert set(os.listdir(ovl1.layout.home)) == trees
    assert len(ovl1.store().layers) == len(LAYERS)


def test_the_same_changes_are_one_layer(ovl1: Store) -> None:
    ovl1("container", "commit", "web", "one:1")
    trees = set(os.listdir(ovl1.layout.home))
    ovl1("container", "commit", "web", "two:1")
    assert set(os.listdir(ovl1.layout.home)) == trees
    assert ovl1.store().image("one:1").diff_ids == ovl1.store().image("two:1").diff_ids


def test_what_is_refused_changes_nothing(ovl1: Store, tmp_path: Path) -> None:
    before = ovl1.manifest()
    for name in ("nobody", "", "f" * 64):
        for arguments in (("commit", name), ("export", name, "-o", str(tmp_path / "out"))):
            error = ovl1.error("container", *arguments, code=WRONG)
            assert error["brief"] == f"there is no container {name!r}"
    assert "no name" in ovl1.error("container", "commit", "web", "UPPER:1", code=WRONG)["brief"]
    ovl1("container", "export", "web", "-o", str(tmp_path / "no" / "where"), code=WRONG)
    assert differences(before, ovl1.manifest()) == []
    assert not (tmp_path / "out").exists()


def test_a_container_that_is_not_whole(ovl1: Store, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    shutil.rmtree(ovl1.layout.layer(ovl1.store().mounts[ovl1.idle].mount_id))
    shutil.rmtree(ovl1.layout.mount(ovl1.web))
    for name, says in (("idle", "no layer|there is no|missing"), ("web", "has no layer")):
        for arguments in (("commit", name), ("export", name, "-o", str(path))):
            ended = ovl1.ended("container", *arguments, "--json")
            assert ended.code in (WRONG, 3), ended
            brief = json.loads(ended.err)["error"]["brief"]
            assert any(part in brief for part in says.split("|")), brief
    assert path.read_text() == "older"
    assert ovl1.store().images.keys() == {ovl1.store().image("app:1").image_id}


def test_a_removed_image_of_a_container(ovl1: Store, tmp_path: Path) -> None:
    """It goes by force, its layers stay, and the tree can still be had."""
    path = tmp_path / "web.tar"
    ovl1("container", "export", "web", "-o", str(path))
    whole = hashlib.sha256(path.read_bytes()).digest()
    assert "web (stopped)" in ovl1.error("image", "rm", "app:1")["details"]
    said = ovl1.json("image", "rm", "--force", "app:1")
    assert (len(said["images"]), said["layers"]) == (1, [])
    ovl1("container", "export", "web", "-o", str(path))
    assert hashlib.sha256(path.read_bytes()).digest() == whole
    assert "no image" in ovl1.error("container", "commit", "web")["brief"]


def test_owners_are_not_shifted_behind_anybodys_back(ovl1: Store, tmp_path: Path) -> None:
    shifted = ovl1.data_root.with_name("100000.100000")
    ovl1.data_root.rename(shifted)
    ovl1.data_root = shifted
    before = ovl1.manifest()
    archive = str(tmp_path / "app.tar")
    for arguments in (
        ("container", "export", "web", "-o", str(tmp_path / "out")),
        ("container", "commit", "web"),
        ("image", "load", archive),
        ("image", "import", archive),
    ):
        error = ovl1.error(*arguments)
        assert error["brief"] == f"{shifted} is the data-root of a user namespace"
    ovl1("image", "save", "app:1", "-o", str(tmp_path / "saved"))
    assert differences(before, ovl1.manifest()) == []
    ovl1("image", "rm", "--force", "app:1")
