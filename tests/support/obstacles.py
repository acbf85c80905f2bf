"""A store as a daemon leaves it, and what can be put into a migration's way."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, ContextManager, Iterator, Optional

from ovl1.linux import libc, mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.model import ChainId, ContainerId, LayerId
from ovl1.store.layout import LOWER_ID, TAR_SPLIT, Layout
from tests.support.child import Ended, command, in_child
from tests.support.store_builder import StoreBuilder, real_store, write

MIB = 1 << 20
CHANGED = " "
_MS_BIND = 0x1000


class Place:
    """A store on a file system of its own, and the names of what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.builder: StoreBuilder = real_store(root)

    @property
    def layout(self) -> Layout:
        return self.builder.layout

    @property
    def top(self) -> ChainId:
        """The upper layer of ``app:1``; it has a parent and a container."""
        return list(self.builder.cache_ids)[1]

    @property
    def tree(self) -> LayerId:
        """The directory of `top`."""
        return self.builder.cache_ids[self.top]

    @property
    def record(self) -> Path:
        return self.layout.record(self.top)

    @property
    def container(self) -> ContainerId:
        (name,) = os.listdir(self.layout.containers)
        return ContainerId.parse(name)

    @property
    def config(self) -> Path:
        return self.layout.container_config(self.container)

    @property
    def rw(self) -> LayerId:
        """The container's own directory."""
        return LayerId.parse((self.layout.mount(self.container) / "mount-id").read_text())

    def image_config(self, name: str) -> Path:
        return self.layout.image_config(self.builder.open().image(name).image_id)

    def migrate(self, *arguments: str) -> Ended:
        return in_child(command(self.root, "migrate", *arguments))


Obstacle = Callable[[Place], Optional[ContextManager[object]]]


def written(path: Callable[[Place], Path], text: str) -> Obstacle:
    return lambda place: write(path(place), text)


def emptied(path: Callable[[Place], Path]) -> Obstacle:
    return written(path, "")


def made(path: Callable[[Place], Path]) -> Obstacle:
    return lambda place: path(place).mkdir()


def in_record(name: str) -> Callable[[Place], Path]:
    return lambda place: place.record / name


def of_the_layer(place: Place) -> str:
    return place.top.hex


def of_the_tree(place: Place) -> str:
    return place.tree.short


def of_the_container(place: Place) -> str:
    return place.container


def tree_is_gone(place: Place) -> None:
    shutil.rmtree(place.layout.layer(place.tree))


def tree_is_empty(place: Place) -> None:
    shutil.rmtree(place.layout.layer(place.tree))
    place.layout.layer(place.tree).mkdir()


def tar_split_is_cut(place: Place) -> None:
    path = place.record / TAR_SPLIT
    path.write_bytes(path.read_bytes()[:-20])


def tar_split_is_missing(place: Place) -> None:
    (place.record / TAR_SPLIT).unlink()


def tar_split_is_no_json(place: Place) -> None:
    (place.record / TAR_SPLIT).write_bytes(gzip.compress(b"nonsense\n"))


def lower_id_is_torn(place: Place) -> None:
    path = place.layout.layer(place.rw) / LOWER_ID
    path.write_text(path.read_text()[:32])


def cache_id_is_anothers(place: Place) -> None:
    (place.record / "cache-id").write_text(next(iter(place.builder.cache_ids.values())))


def config_is_anothers(place: Place) -> None:
    config = json.loads(place.config.read_text())
    place.config.write_text(json.dumps({**config, "ID": "0" * 64}))


def container_dir_is_a_link(place: Place) -> None:
    there = place.layout.container(place.container)
    there.rename(place.root / "elsewhere")
    there.symlink_to(place.root / "elsewhere")


def overlay_is_a_link(place: Place) -> None:
    place.layout.home.rename(place.root / "elsewhere")
    place.layout.home.symlink_to("elsewhere")


def renamed_from_nowhere(place: Place) -> None:
    moved = place.layout.upper(place.rw) / "moved"
    moved.mkdir()
    os.setxattr(moved, "trusted.overlay.redirect", b"no/../name")


def only_metadata(place: Place) -> None:
    stub = place.layout.upper(place.rw) / "stub"
    stub.touch()
    os.setxattr(stub, "trusted.overlay.metacopy", b"")


def before_1_10(place: Place) -> None:
    shutil.rmtree(place.layout.image)
    (place.root / "graph").mkdir()


@contextlib.contextmanager
def own_file_system(place: Place) -> Iterator[None]:
    home = place.layout.home
    with loop_file_system("ext4", place.root.parent, 8 * MIB) as mounted:
        subprocess.run(["cp", "-a", f"{home}/.", mounted], check=True)
        shutil.rmtree(home)
        home.mkdir()
        libc.mount(str(mounted), str(home), "none", _MS_BIND, "")
        try:
            yield
        finally:
            mounts.umount(home)


@contextlib.contextmanager
def bound_to_itself(place: Place) -> Iterator[None]:
    """As Docker 1.12 to 17.12 left it."""
    libc.mount(str(place.layout.home), str(place.layout.home), "none", _MS_BIND, "")
    try:
        yield
    finally:
        mounts.umount(place.layout.home)


@contextlib.contextmanager
def container_is_mounted(place: Place) -> Iterator[None]:
    layout = place.layout
    merged = layout.merged(place.rw)
    merged.mkdir()
    lower = LayerId.parse(layout.lower_id(place.rw).read_text())
    stack = mounts.overlay([layout.root(lower)], layout.upper(place.rw), layout.work(place.rw))
    with mounts.mounted(stack, merged):
        yield


@contextlib.contextmanager
def process_inside(place: Place) -> Iterator[None]:
    with subprocess.Popen(["sleep", "60"], cwd=place.layout.home) as process:
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def few_inodes(place: Place) -> Iterator[None]:
    free = os.statvfs(place.root).f_ffree
    spare = place.root.parent / "spare"
    spare.mkdir()
    for number in range(free - 60):
        (spare / str(number)).touch()
    yield


@contextlib.contextmanager
def no_inodes(place: Place) -> Iterator[None]:
    spare = place.root.parent / "spare"
    spare.mkdir()
    with contextlib.suppress(OSError):
        for number in range(1 << 20):
            (spare / str(number)).touch()
    yield


@contextlib.contextmanager
def no_space(place: Place) -> Iterator[None]:
    with contextlib.suppress(OSError), open(place.root.parent / "spare", "wb", buffering=0) as file:
        while True:
            file.write(bytes(64 << 10))
    yield


def no_store(place: Place) -> None:
    shutil.rmtree(place.root)
    place.root.mkdir()


def image_is_changed(place: Place) -> None:
    path = place.image_config("app")
    write(path, path.read_text() + CHANGED)


def of_the_changed_image(place: Place) -> str:
    images = place.layout.image_configs.iterdir()
    return next(path.name for path in images if path.read_text().endswith(CHANGED))


def too_many_layers(place: Place) -> None:
    top = None
    for number in range(130):
        top = place.builder.layer({"file": b"%d" % number}, top)
    place.builder.image(top, "deep:1")


def tar_split_of_another(place: Place) -> None:
    other = list(place.builder.cache_ids)[2]
    shutil.copy(place.layout.tar_split(other), place.record / TAR_SPLIT)
