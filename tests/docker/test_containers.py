"""Containers become tars and images without a daemon as they do with one, but for what it loses."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import pytest

from ovl1.images import layertar
from ovl1.linux.loopback import loop_file_system
from ovl1.store.imagedb import Image, read_config
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import CAP_NET_RAW, image_archive
from tests.docker.ovl1 import ovl1
from tests.docker.test_diff import CONTAINERS, IMAGE, masked

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

RUN = ("--network=none", "-e", "A=b c", "-w", "/sub", "--user", "0:0", "--label", "l=<&>")


def make_rescued(root: Path) -> None:
    """What can be looked at when the committed image runs."""
    (root / "sub/rescued").write_bytes(b"rescued\n")
    (root / "gone-file").unlink()


def make_for_export(root: Path) -> None:
    """What a whole tree can hold, and Docker sees all of it."""
    (root / "sub/new").write_bytes(b"new")
    (root / "gone-file").unlink()
    os.link(root / "sub/new", root / "new-link")
    os.link(root / "pair/one", root / "pair/three")
    os.symlink("x" * 300, root / "far-link")
    os.link(root / "far-link", root / "far-link-2", follow_symlinks=False)
    os.mkfifo(root / "pipe")
    os.mknod(root / "char", stat.S_IFCHR | 0o640, os.makedev(259, 1048575))
    os.setxattr(root / "sub/new", "security.capability", CAP_NET_RAW)
    os.setxattr(root / "sub/new", "user.note", b"is in no tar")
    (root / "names/\udcff\udcfe").write_bytes(b"odd")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o755)
    with (root / "sparse").open("wb") as sparse:
        sparse.seek(4 << 20)
        sparse.write(b"end")
    os.utime(root / "sub/new", ns=(0, 1600000000 * 10**9 + 999999999))


MADE = {**CONTAINERS, "rescued": (make_rescued,), "export": (make_for_export,)}
EXPORTED = ("all", "kinds", "names", "untouched", "export")
COMMITTED = ("plain", "kinds", "names", "untouched", "rescued")


class Place(NamedTuple):
    """A stopped daemon's store, and what the daemon made of its containers."""

    work: Path
    layout: Layout
    exports: dict[str, bytes]

    def daemon(self) -> Daemon:
        return Daemon(self.layout.data_root, self.layout.driver, self.work / "daemon")

    def store(self) -> Store:
        return Store.of(self.layout)

    def config(self, name: str) -> dict[str, Any]:
        image_id = self.store().image(name).image_id
        config = json.loads(read_config(self.layout, image_id))
        assert isinstance(config, dict)
        return config

    def ovl1(self, *arguments: str) -> str:
        return ovl1(self.layout.data_root, "--driver", self.layout.driver, *arguments)


@pytest.fixture(scope="module", params=[OVERLAY, OVERLAY2])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="d-") as name, loop_file_system(
        "ext4", Path(name)
    ) as disk:
        made = Place(Path(name), Layout((disk / "docker").resolve(), request.param), {})
        with made.daemon() as daemon:
            daemon.docker("load", stdin=image_archive(IMAGE, nasty.base()))
            daemon.docker("import", "-m", "why", "-", "imported:docker", stdin=nasty.base())
            for container in (*EXPORTED, *COMMITTED):
                if container not in daemon.docker("ps", "-a", "--format", "{{.Names}}").split():
                    make(daemon, container)
            for container in EXPORTED:
                with daemon.streaming("export", container) as stream:
                    made.exports[container] = stream.read()
            for container in COMMITTED:
                about = ("-a", "Jo", "-m", "why")
                daemon.docker("commit", *about, container, f"docker:{container}")
        yield made


def make(daemon: Daemon, name: str) -> None:
    daemon.docker("run", "-d", *RUN, "--name", name, "diff:1", "sleep", "1000")
    merged = Path(daemon.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", name))
    for change in MADE[name]:
        change(merged)
    daemon.docker("kill", name)


@pytest.mark.parametrize("container", EXPORTED)
def test_an_export_is_dockers_byte_for_byte(place: Place, container: str) -> None:
    path = place.work / "export.tar"
    said = json.loads(place.ovl1("container", "export", container, "-o", str(path), "--json"))
    ours = path.read_bytes()
    assert said["bytes"] == len(ours)
    # Debian's daemon writes names of users, see `masked`.
    assert ours == masked(place.exports[container], times=False)


def committed(place: Place, container: str, name: str) -> Image:
    about = ("--author", "Jo", "--message", "why")
    image_id = place.ovl1("container", "commit", *about, container, name).strip()
    image = place.store().image(name)
    assert image.image_id == image_id
    return image


def layer(place: Place, image: Image) -> bytes:
    store = place.store()
    return b"".join(layertar.chunks(store, store.chain(image)[0]))


@pytest.mark.parametrize("container", COMMITTED)
def test_a_commit_is_dockers(place: Place, container: str) -> None:
    ours = committed(place, container, f"ovl1:{container}")
    dockers = place.store().image(f"docker:{container}")
    assert len(ours.diff_ids) == len(dockers.diff_ids) == 2 + (container != "untouched")
    assert ours.diff_ids[:2] == dockers.diff_ids[:2]
    assert ours.parent == dockers.parent
    if container != "untouched":
        times = place.layout.driver == OVERLAY
        assert masked(layer(place, ours), times=times) == masked(layer(place, dockers), times=times)
    configs = [place.config(f"{who}:{container}") for who in ("ovl1", "docker")]
    for config in configs:
        for key in ("created", "docker_version", "rootfs"):
            config.pop(key, None)
        config["history"][-1].pop("created")
    assert configs[0] == configs[1]
    assert bool(configs[0]["history"][-1].get("empty_layer")) == (container == "untouched")


def test_a_commit_misses_nothing_that_docker_misses(place: Place) -> None:
    with place.daemon() as daemon:
        make(daemon, "hidden")
        assert daemon.docker("diff", "hidden") == ""
    image = committed(place, "hidden", "ovl1:hidden")
    with tarfile.open(fileobj=io.BytesIO(layer(place, image))) as tar:
        content = tar.extractfile("sub/hidden")
        assert content is not None
        assert content.read() == b"SAME SIZE"
        assert tar.getmember("sub/link").linkname == "lost"
        assert tar.getmember("meta/same").pax_headers["SCHILY.xattr.user.note"] == "new"


def test_docker_goes_on_with_what_was_committed(place: Place) -> None:
    image = committed(place, "rescued", "rescued:1")
    with place.daemon() as daemon:
        assert daemon.docker("images", "-q", "--no-trunc", "rescued:1") == image.image_id
        history = daemon.docker("history", "--format", "{{.CreatedBy}}|{{.Comment}}", "rescued:1")
        assert history.splitlines()[0] == "sleep 1000|why"
        assert len(history.splitlines()) == 3
        shown = daemon.docker("run", "--rm", "--network=none", "rescued:1", "cat", "rescued")
        assert shown == "rescued"
        listed = daemon.docker("run", "--rm", "--network=none", "rescued:1", "ls", "/").split()
        assert "gone-file" not in listed
        assert daemon.docker("run", "--rm", "--network=none", "rescued:1", "sh", "-c", "echo $A")
        saved = daemon.docker("save", "rescued:1")
        assert saved
        daemon.docker("start", "rescued")
        daemon.docker("rmi", "rescued:1")


def test_an_import_is_dockers(place: Place) -> None:
    path = place.work / "base.tar"
    path.write_bytes(nasty.base())
    place.ovl1("image", "import", "--message", "why", str(path), "imported:ovl1")
    ours, dockers = (place.config(f"imported:{who}") for who in ("ovl1", "docker"))
    for config in (ours, dockers):
        for key in ("created", "docker_version"):
            config.pop(key, None)
        config["history"][-1].pop("created")
    assert ours == dockers
    with place.daemon() as daemon:
        shown = daemon.docker(
            "run", "--rm", "--network=none", "imported:ovl1", "/bin/echo", "works"
        )
        assert shown == "works"
