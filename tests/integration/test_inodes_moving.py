"""Counting a store that is at work, that may not be read, or that lies in an odd place."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import pytest

import ovl1.cli.inodes.report  # noqa: F401 - a child without rights may not read it any more
from ovl1.cli.main import run
from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.inodes.attribute import report
from ovl1.inodes.report import Report
from ovl1.linux import mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.model import LayerId, Mount
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.store.trees import IMAGE
from ovl1.store.writer import create_store
from tests.support.captured import extracted
from tests.support.child import NOBODY, in_child
from tests.support.layers import entry, make_tar
from tests.support.used import plainly_counted, used

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs")


@pytest.fixture
def data_root(tmp_path: Path) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path) as disk:
        yield extracted("v2010-overlay", disk.resolve())


def told(data_root: Path, *, with_bytes: bool = False) -> Report:
    return report(Store.open(data_root), overlay2=False, with_bytes=with_bytes)


class Writer:
    """Makes, renames and removes layers and files of a store in a thread, until it is stopped."""

    def __init__(self, data_root: Path, work: Path) -> None:
        self.rounds = 0
        self._error: Optional[BaseException] = None
        self._driver: Driver = open_driver(data_root, OVERLAY, runtime=work, sync=False)
        self._home = Layout(data_root, OVERLAY).home
        store = Store.open(data_root)
        layers = [record.cache_id for record in store.layers.values()]
        self._parents = [layer for layer in layers if store.trees[layer].kind == IMAGE]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what stopped it, if anything did."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        tar = [entry("moving/a", data=b"x"), entry("moving/b/c", data=b"y")]
        try:
            for number in itertools.count():
                parent = self._parents[number % len(self._parents)]
                layer = LayerId.parse(f"{number:064x}")
                self._driver.create(layer, parent)
                self._driver.apply_diff(layer, parent, make_tar(tar))
                place, aside = self._home / layer, self._home / f"{number:064x}-init"
                place.rename(aside)
                (aside / "root" / "moving").rename(aside / "root" / "moved")
                aside.rename(place)
                self._driver.remove(layer)
                self.rounds += 1
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - told by the test
            self._error = error


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_is_changed_meanwhile(data_root: Path, tmp_path: Path, workers: int) -> None:
    """No crash, it is said, and what did not move is right: also when a layer goes half-way."""
    still = {use.name: use for use in told(data_root).layers}
    with Writer(data_root, tmp_path / "run") as writer:
        deadline = time.monotonic() + 3
        reports: List[Report] = []
        while (writer.rounds < 5 or len(reports) < 5) and time.monotonic() < deadline + 20:
            reports.append(report(Store.open(data_root), overlay2=False, workers=workers))
            writer.check()
    writer.check()
    assert writer.rounds >= 1
    assert any(made.moving for made in reports)
    for made in reports:
        found = {use.name: use for use in made.layers}
        assert {name: found[name] for name in still} == still
    settled = told(data_root)
    assert not settled.moving
    assert settled.total == plainly_counted(data_root)


def test_a_layer_that_came_after_the_store_was_read(data_root: Path) -> None:
    store = Store.open(data_root)
    (data_root / "overlay" / ("f" * 64) / "root").mkdir(parents=True)
    made = report(store, overlay2=False)
    assert made.moving
    assert made.total == plainly_counted(data_root)


def test_a_layer_that_went_after_the_store_was_read(data_root: Path) -> None:
    store = Store.open(data_root)
    (gone, *_) = store.layers.values()
    shutil.rmtree(data_root / "overlay" / gone.cache_id)
    made = report(store, overlay2=False)
    assert made.moving
    assert made.total == plainly_counted(data_root)


def test_what_others_write_elsewhere_is_no_movement(data_root: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        for number in itertools.count():
            (data_root.parent / f"other-{number}").touch()
            if stop.is_set():
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert not told(data_root).moving
    finally:
        stop.set()
        thread.join()


def as_nobody(data_root: Path, *arguments: str) -> Dict[str, object]:
    def unprivileged() -> int:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return run(["--data-root", str(data_root), "--json", "inodes", "report", *arguments])

    ended = in_child(unprivileged)
    assert ended.code == 0, ended.err
    found: Dict[str, object] = json.loads(ended.out)
    return found


def open_up(data_root: Path) -> None:
    """Let everybody read all directories and the records, but no file of a layer."""
    for directory, _, names in os.walk(data_root):
        os.chmod(directory, 0o755)
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink() and "overlay" not in path.relative_to(data_root).parts[:1]:
                path.chmod(0o644)
    for path in (data_root / "overlay").glob("*/lower-id"):
        path.chmod(0o644)


def test_a_user_who_may_read_everything_needs_no_privilege(data_root: Path) -> None:
    open_up(data_root)
    for path in (data_root, *data_root.parents):
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o055)
    made = as_nobody(data_root)
    assert made["unreadable"] == []
    assert made["total"] == told(data_root).total == plainly_counted(data_root)


def test_what_a_user_may_not_read_is_said(data_root: Path) -> None:
    open_up(data_root)
    for path in data_root.parents:
        if path != Path("/"):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o055)
    (layer, *_) = Store.open(data_root).layers.values()
    root = data_root / "overlay" / layer.cache_id / "root"
    (root / "secret" / "below").mkdir(parents=True)
    (root / "secret").chmod(0o700)
    (data_root / "tmp").chmod(0o700)
    hidden = sum(len(plain) + len(files) for _, plain, files in os.walk(data_root / "tmp"))
    made = as_nobody(data_root)
    secret = f"overlay/{layer.cache_id}/root/secret"
    assert made["unreadable"] == sorted([secret, "tmp"])
    assert made["total"] == plainly_counted(data_root) - 1 - hidden


def test_sizes_are_those_of_du(data_root: Path) -> None:
    made = told(data_root, with_bytes=True)
    du = subprocess.run(
        ["du", "-s", "--block-size=1", str(data_root)], check=True, stdout=subprocess.PIPE
    )
    assert made.bytes == int(du.stdout.split()[0])
    parts = [use.bytes for use in made.layers] + [counts.bytes for _, counts in made.others]
    assert made.bytes == made.home_bytes + sum(parts)
    assert told(data_root).bytes == 0


def bind(source: Path, target: Path) -> Callable[[], None]:
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    return lambda: mounts.umount(target)


def test_a_data_root_that_is_mounted_on_itself(data_root: Path) -> None:
    """As a daemon does, for its mounts to be seen elsewhere: then it is no file system's root."""
    empty = told(data_root).file_system
    undo = bind(data_root, data_root)
    try:
        made = told(data_root)
    finally:
        undo()
    assert made.file_system == empty
    assert made.elsewhere == 0


def test_what_is_mounted_below_is_not_counted(data_root: Path) -> None:
    volume = data_root / "volumes" / "v"
    volume.mkdir(parents=True)
    before = told(data_root)
    with mounts.mounted(Mount("tmpfs", "tmpfs"), volume):
        for number in range(20):
            (volume / str(number)).touch()
        made = told(data_root)
    assert (made.total, made.moving) == (before.total, False)
    assert made.total + made.file_system.own == used(data_root)


def test_a_home_on_another_file_system(tmp_path: Path) -> None:
    with loop_file_system("ext4", tmp_path) as one, loop_file_system("xfs", tmp_path) as two:
        data_root = extracted("v2010-overlay", one.resolve(), kind="xfs")
        for path in (data_root / "overlay").iterdir():
            subprocess.run(["cp", "-a", str(path), str(two)], check=True)
        undo = bind(two, data_root / "overlay")
        try:
            made = told(data_root)
            assert [system.kind for system in made.file_systems] == ["ext4", "xfs"]
            # Under the mount point lies what was copied, which no walk can see.
            assert made.file_systems[1].elsewhere == 0
            assert made.file_systems[1].docker == made.in_layers
            assert made.total == made.in_layers + made.file_systems[0].docker - 1
        finally:
            undo()


def test_the_layers_that_fit_before_emlink(tmp_path: Path) -> None:
    with loop_file_system("ext4", tmp_path) as disk:
        data_root = extracted("v2010-overlay", disk.resolve(), kind="ext4")
        (layer, *_) = Store.open(data_root).layers.values()
        directory = data_root / "overlay" / layer.cache_id / "root" / "many"
        directory.mkdir()
        (directory / "0").touch()
        for number in range(1, 3000):
            os.link(directory / "0", directory / str(number))
        made = told(data_root)
        (first, *_) = made.linked
        assert first.path.startswith(f"overlay/{layer.cache_id}/root/many/")
        assert (first.names, first.links, first.limit) == (3000, 3000, 65000)
        assert made.more_layers == first.more_layers == 20
        # It is so: each layer gives the file as many names once more, and the 21st is too many.
        for number in range(20):
            clone(directory, directory.with_name(f"clone-{number}"))
        with pytest.raises(OSError, match="Too many links"):
            clone(directory, directory.with_name("clone-20"))


def clone(source: Path, target: Path) -> None:
    target.mkdir()
    for name in os.listdir(source):
        os.link(source / name, target / name)


@pytest.mark.parametrize("driver", [OVERLAY, OVERLAY2])
def test_what_belongs_to_nothing(tmp_path: Path, driver: str) -> None:
    with loop_file_system("ext4", tmp_path) as disk:
        data_root = disk.resolve() / "docker"
        layout = Layout(data_root, driver)
        create_store(layout)
        (layout.home / "rest" / "a").mkdir(parents=True)
        driven = open_driver(data_root, driver, runtime=tmp_path / "run", sync=False)
        driven.create(LayerId.parse("a" * 64), None)
        driven.apply_diff(LayerId.parse("a" * 64), None, make_tar([entry("f", data=b"x")]))
        made = report(Store.open(data_root, driver), overlay2=False)
        kinds = {share.id: share for share in made.kinds}
        assert {name: share.layers for name, share in kinds.items()} == {"unused": 1, "leftover": 1}
        assert kinds["unused"].tree.inodes == 2
        assert kinds["leftover"].inodes == 2
        assert made.total == plainly_counted(data_root)
