"""A real daemon uses a store in which our driver has applied every layer, as its own.

The store's metadata is what a real daemon wrote. What the daemon says over our layers, and what
its containers see, is as it was over those that it had made itself from the same tars. Where they
differ, `differences` knows why Docker is wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple

import pytest

from ovl1.driver.opening import open_driver
from ovl1.images import layertar
from ovl1.layer.apply import Applied
from ovl1.linux.loopback import loop_file_system
from ovl1.model import ChainId, ImageId
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from tests.docker import truth
from tests.docker.daemon import Daemon
from tests.docker.driver_images import CONTAINERS, furnish
from tests.docker.nasty_layers import REFUSED_BY_OVERLAY2
from tests.docker.ovl1 import ovl1
from tests.docker.trees import listed_by_layers, nodes
from tests.support import driver_store
from tests.support.driver_store import Nodes, differences, own_directory, unlisted

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

SHELL = ("sh", "-c")
LOOK = (
    "ls -d /gone /gone-file /never-there 2>&1; ls -A /opaque /marked-last /marked-only /reborn;"
    "cat /opaque/again /dir-to-file /dir-to-link/new /file-to-link;"
    "busybox stat -c '%n %a %u' /meta/* /opaque /file-to-dir; echo /reborn-empty/*"
)
SEEN = """\
ls: /gone: No such file or directory
ls: /gone-file: No such file or directory
ls: /never-there: No such file or directory
/marked-last:
new

/marked-only:

/opaque:
again
new

/reborn:
new
newfilenewnew\
/meta/dir 700 1000
/meta/mode 4711 0
/meta/mtime 644 0
/meta/owner 644 7
/meta/same 644 0
/opaque 750 0
/file-to-dir 755 0
/reborn-empty/*"""

EDIT = (
    "echo 1 >/made; mkdir /made-dir; echo 2 >/d/new; rm -r /link; ln -s d /link; rm /p; mkfifo /p;"
    "chmod 0711 /d; chmod 0600 /etc/passwd; rm /c"
)
EDITED = [
    *("A /made", "A /made-dir", "C /d", "C /d/new", "C /etc", "C /etc/passwd"),
    *("C /link", "C /p", "D /c"),
]


class Original(NamedTuple):
    """A real daemon's store, what the daemon said about it, and what its containers saw."""

    store: Store
    work: Path
    said: truth.Truth
    views: Dict[str, Nodes]

    @property
    def driver(self) -> str:
        return self.store.layout.driver

    def copy(self, name: str) -> Layout:
        """The store's metadata, in a data-root without the driver's directory."""
        layout = Layout(self.store.layout.data_root.with_name(name), self.driver)
        driver_store.copy_metadata(self.store.layout, layout.data_root)
        return layout

    def refill(self, layout: Layout) -> Dict[ChainId, Applied]:
        """Make all layers with our driver."""
        driver = open_driver(layout.data_root, layout.driver, runtime=self.work / "run")
        applied = driver_store.apply_layers(self.store, driver)
        names = {key: container.name for key, container in self.store.containers.items()}
        mounts = sorted(self.store.mounts.values(), key=lambda mount: names[mount.container_id])
        made_anew = mounts[::2] if layout.driver == OVERLAY else mounts
        driver_store.bring_containers(self.store, driver, made_anew)
        return applied

    def placed(self, said: truth.Truth, layout: Layout) -> truth.Truth:
        """What a daemon says, as if its data-root were where this store lies."""
        here, there = f"{layout.data_root}/", f"{self.store.layout.data_root}/"
        moved: truth.Truth = json.loads(json.dumps(said).replace(here, there))
        return moved

    def daemon(self, layout: Layout) -> Daemon:
        return Daemon(layout.data_root, layout.driver, self.work / layout.data_root.name)


class Copy(NamedTuple):
    """The same store with our layers, and the daemon that runs on it."""

    layout: Layout
    daemon: Daemon
    inodes: Dict[ChainId, int]
    sizes: Dict[ChainId, int]


@pytest.fixture(scope="module", params=[OVERLAY, OVERLAY2])
def original(request: pytest.FixtureRequest) -> Iterator[Original]:
    with tempfile.TemporaryDirectory(prefix="d-") as name, loop_file_system(
        "ext4", Path(name)
    ) as disk:
        layout = Layout((disk / "docker").resolve(), request.param)
        with Daemon(layout.data_root, layout.driver, Path(name) / "docker") as daemon:
            furnish(daemon)
            said, views = truth.record(daemon), seen(daemon)
        yield Original(Store.of(layout), Path(name), said, views)


def seen(daemon: Daemon) -> Dict[str, Nodes]:
    """What a container of each image sees, through the daemon's mount."""

    def look(image: str) -> Nodes:
        name = f"seen-{image[7:19]}"
        daemon.docker("run", "-d", "--network=none", "--name", name, image, "sleep", "1000")
        merged = daemon.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", name)
        found = nodes(Path(merged))
        daemon.docker("rm", "-f", name)
        return found

    images = sorted(set(daemon.docker("images", "-q", "--no-trunc").split()))
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(images, pool.map(look, images)))


@pytest.fixture(scope="module")
def copy(original: Original) -> Iterator[Copy]:
    layout = original.copy("copy")
    applied = original.refill(layout)
    inodes = {
        chain_id: driver_store.inodes(original.store, layout, chain_id) for chain_id in applied
    }
    with original.daemon(layout) as daemon:
        yield Copy(layout, daemon, inodes, {key: done.size for key, done in applied.items()})


def none_of(complaints: Iterable[str]) -> None:
    found = list(complaints)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def run(daemon: Daemon, *command: str) -> str:
    return daemon.docker("run", "--rm", "--network=none", *command)


def test_the_daemon_says_the_same(original: Original, copy: Copy) -> None:
    """Of images: list, configuration, history, ``save``; of containers: ``diff``, ``export``."""
    containers = original.said["containers"].values()
    assert {said["name"][1:] for said in containers} == {*CONTAINERS}
    assert len(truth.saved(original.said)) == len(original.said["images"]) > 10
    with ThreadPoolExecutor(3) as pool:
        said = pool.map(lambda name: copy.daemon.docker("start", "-a", name), CONTAINERS)
        assert list(said) == list(CONTAINERS)
    none_of(truth.compare(original.said, original.placed(truth.record(copy.daemon), copy.layout)))


def test_new_containers_see_the_same(original: Original, copy: Copy) -> None:
    store, views = original.store, seen(copy.daemon)
    assert views.keys() == original.views.keys()

    def complaints() -> Iterator[str]:
        for image_id, view in views.items():
            loose = unlisted(store, store.chain(store.image(image_id))[0].chain_id)
            for line in differences(original.driver, original.views[image_id], view, loose):
                yield f"{store.references.tags_of(ImageId(image_id))}: {line}"

    none_of(complaints())
    assert run(copy.daemon, "nasty/replaced:1", *SHELL, LOOK) == SEEN
    assert run(copy.daemon, "store/built:1") == "5\n4"


def test_changes_are_found_committed_and_built_upon(copy: Copy) -> None:
    daemon = copy.daemon
    daemon.docker("run", "--network=none", "--name", "new", "store/built:1", *SHELL, EDIT)
    assert sorted(daemon.docker("diff", "new").split("\n")) == EDITED
    daemon.docker("commit", "new", "committed:1")
    daemon.build("above:1", "FROM committed:1\nRUN rm -r /d && echo 6 >/made\n")
    daemon.docker("rm", "new")
    look = "cat /made; busybox readlink /link; echo /[cd]; busybox stat -c '%F %a' /p /etc/passwd"
    for image, expected in (
        ("committed:1", "1\nd\n/d\nfifo 644\nregular file 600"),
        ("above:1", "6\nd\n/[cd]\nfifo 644\nregular file 600"),
    ):
        assert run(daemon, image, *SHELL, look) == expected
    assert run(daemon, "store/built:1", "busybox", "stat", "-c", "%a", "/etc/passwd") == "644"
    inspected = daemon.docker("image", "inspect", "-f", "{{json .RootFS.Layers}}", "above:1")
    with daemon.streaming("save", "above:1") as stream:
        assert listed_by_layers(io.BytesIO(stream.read())).keys() == {*json.loads(inspected)}
    daemon.docker("rmi", "above:1", "committed:1")


def test_layers_are_dockers_and_stay_so(original: Original, copy: Copy) -> None:
    """After all that the daemon has done with them."""
    store = original.store

    def complaints() -> Iterator[str]:
        for chain_id, layer in store.layers.items():
            theirs, mine = (
                nodes(own_directory(layout, layer.cache_id))
                for layout in (store.layout, copy.layout)
            )
            for line in differences(original.driver, theirs, mine, unlisted(store, chain_id)):
                yield f"{layer.diff_id.short}: {line}"

    none_of(complaints())
    assert copy.sizes == {key: layer.size for key, layer in store.layers.items()}


def test_a_shared_file_is_not_changed(original: Original, copy: Copy) -> None:
    """By a layer that links to it under another name with another mode, as Docker's driver does."""
    if original.driver == OVERLAY2:
        pytest.skip("Docker's overlay2 refuses that image")
    store = original.store
    top, below, *_ = store.chain(store.image(REFUSED_BY_OVERLAY2))
    for layout, mode in ((store.layout, 0o600), (copy.layout, 0o644)):
        assert (layout.root(below.cache_id) / "hard/changed").stat().st_mode & 0o777 == mode
        assert (layout.root(top.cache_id) / "hard/changer").stat().st_mode & 0o777 == 0o600


def test_no_more_inodes_than_dockers(original: Original, copy: Copy) -> None:
    """Fewer in v1, as soon as a layer inherits a symbolic link: Docker makes each anew."""
    for chain_id, ours in copy.inodes.items():
        docker = driver_store.inodes(original.store, original.store.layout, chain_id)
        inherits = original.store.layers[chain_id].parent is not None
        assert ours < docker if inherits and original.driver == OVERLAY else ours <= docker


def test_all_can_be_removed(original: Original) -> None:
    layout = original.copy("emptied")
    original.refill(layout)
    with original.daemon(layout) as daemon:
        daemon.docker("rm", *daemon.docker("ps", "-aq").split())
        tags = daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}}")
        daemon.docker("rmi", *tags.split())
        assert daemon.docker("images", "-aq") == ""
    left = {path.name for path in layout.home.iterdir()}
    assert left == ({layout.links.name} if layout.driver == OVERLAY2 else set())
    assert not any(name for path in layout.home.iterdir() for name in path.iterdir())
    assert not any(layout.layers.iterdir())


def test_layers_of_the_command_line(original: Original) -> None:
    store, layout = original.store, original.copy("by-hand")
    image = store.image("nasty/replaced:1")
    options = ("--driver", layout.driver, "layer")
    parent: List[str] = []
    for layer in reversed(store.chain(image)):
        tar = original.work / "layer.tar"
        tar.write_bytes(b"".join(layertar.chunks(store, layer)))
        ovl1(layout.data_root, *options, "create", layer.cache_id, *parent)
        ovl1(layout.data_root, *options, "apply", layer.cache_id, os.fspath(tar))
        parent = ["--parent", layer.cache_id]
    with original.daemon(layout) as daemon:
        daemon.docker("create", "--network=none", "--name", "new", image.image_id, *SHELL, LOOK)
        assert daemon.docker("start", "-a", "new") == SEEN
        assert daemon.docker("diff", "new") == ""
        with daemon.streaming("save", image.image_id) as stream:
            saved = hashlib.sha256(stream.read()).hexdigest()
    assert saved == original.said["images"][image.image_id]["save"]
