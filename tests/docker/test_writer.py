"""A store that ovl1 wrote is used by a real overlay daemon as if it were the daemon's own."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.images.build import build_image, create_container
from ovl1.model import ContainerId, ImageId
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.naming import tag_image
from ovl1.store.store import Store
from ovl1.store.writer import create_store
from tests.docker.daemon import Daemon
from tests.docker.ovl1 import migrate
from tests.support.layers import entry, make_tar

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

CREATED = "2020-01-01T00:00:00Z"
COMMAND = "cat /data/changed; ls /data; echo new > /new"
OUTPUT = "changed\nchanged\nkept\nlink"


@pytest.fixture
def layout(disk: Path) -> Layout:
    made = Layout(disk / "docker", OVERLAY)
    create_store(made)
    return made


def layers() -> Iterator[io.BytesIO]:
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    base = [
        entry("bin/", tarfile.DIRTYPE),
        entry("bin/busybox", data=busybox, mode=0o755),
        *(
            entry(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox")
            for name in ("sh", "cat", "ls")
        ),
    ]
    data = [
        entry("data/", tarfile.DIRTYPE),
        *(entry(f"data/{name}", data=b"old\n") for name in ("changed", "deleted", "kept")),
        entry("data/link", tarfile.LNKTYPE, linkname="data/kept"),
    ]
    above = [
        entry("data/", tarfile.DIRTYPE),
        entry("data/changed", data=b"changed\n"),
        entry("data/.wh.deleted"),
    ]
    for made in (base, data, above):
        yield io.BytesIO(make_tar(made).read())


def driver_of(layout: Layout) -> Driver:
    return open_driver(layout.data_root, OVERLAY)


def make_image(layout: Layout) -> ImageId:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {"Cmd": ["/bin/sh", "-c", COMMAND], "Env": ["PATH=/bin"]},
        "history": [{"created": CREATED, "created_by": "ovl1"}] * 3,
    }
    return build_image(driver_of(layout), layers(), "written/by-ovl1:1", config)


def saved_layers(daemon: Daemon, image: str) -> List[str]:
    """The digests of the layers' tars in what ``docker save`` writes, base first."""
    with daemon.streaming("save", image) as stream:
        whole = io.BytesIO(stream.read())

    def content(archive: tarfile.TarFile, name: str) -> bytes:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()

    with tarfile.open(fileobj=whole) as archive:
        names = json.loads(content(archive, "manifest.json"))[0]["Layers"]
        return ["sha256:" + hashlib.sha256(content(archive, name)).hexdigest() for name in names]


def said(daemon: Daemon, image_id: ImageId, container_id: ContainerId) -> Dict[str, object]:
    """What the daemon says about the image and the container."""
    return {
        # Docker lists the tags of one image in an order that changes from call to call.
        "images": sorted(
            daemon.docker(
                "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
            ).split("\n")
        ),
        "layers": saved_layers(daemon, image_id),
        "containers": daemon.docker(
            "ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Status}} {{.Image}}"
        ),
        "changes": daemon.docker("diff", container_id),
    }


def test_a_daemon_uses_the_store(layout: Layout, work: Path) -> None:
    image_id = make_image(layout)
    tag_image(layout, image_id, "second:name")
    container_id = create_container(driver_of(layout), image_id, "one", created=CREATED)
    store = Store.of(layout)
    assert store.problems == ()
    expected = {
        "images": [f"second:name {image_id}", f"written/by-ovl1:1 {image_id}"],
        "layers": list(store.images[image_id].diff_ids),
        "containers": f"{container_id} one Created second:name",
        "changes": "",
    }
    with Daemon(layout.data_root, OVERLAY, work / "daemon") as daemon:
        assert said(daemon, image_id, container_id) == expected
        assert daemon.docker("start", "-a", "one") == OUTPUT
        assert "A /new" in daemon.docker("diff", "one").split("\n")
        assert daemon.docker("run", "--rm", "--network=none", "second:name") == OUTPUT
        daemon.build("above:1", "FROM second:name\nRUN rm /data/kept\n")
        assert len(saved_layers(daemon, "above:1")) == 4
        daemon.docker("rm", "one")
        daemon.docker("rmi", "above:1", "second:name", "written/by-ovl1:1")
        assert daemon.docker("images", "-aq") == ""
    assert not any(layout.home.iterdir())
    assert not any(layout.layers.iterdir())


def test_it_can_be_migrated(layout: Layout, work: Path) -> None:
    image_id = make_image(layout)
    container_id = create_container(driver_of(layout), image_id, "one", created=CREATED)
    with Daemon(layout.data_root, OVERLAY, work / "before") as daemon:
        before = said(daemon, image_id, container_id)
    migrate(layout.data_root)
    with Daemon(layout.data_root, "overlay2", work / "after") as daemon:
        assert said(daemon, image_id, container_id) == before
        assert daemon.docker("start", "-a", "one") == OUTPUT
