"""The accountant against the file system: equal to the inode, before and after a migration."""

from __future__ import annotations

import collections
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Counter, Iterator, Set, Tuple

import pytest

from ovl1.inodes.attribute import report
from ovl1.linux.loopback import loop_file_system
from ovl1.migrate import engine, finish
from ovl1.migrate.options import Options
from ovl1.model import ImageId
from ovl1.store.store import Store
from tests.support.captured import extracted

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs")

Captured = Tuple[Path, int]
"""A data-root that is alone on its file system, and how many inodes that used when empty."""


STORES = (
    ("ext4", "v2010-overlay"),
    ("xfs", "v112-overlay"),
    ("xfs", "v2010-overlay"),
    ("ext4", "v112-overlay"),
)
IN_SHORT = STORES[:2]


@pytest.fixture(params=STORES, ids="-".join)
def captured(request: pytest.FixtureRequest, tmp_path: Path, full: bool) -> Iterator[Captured]:
    kind, name = request.param
    if not full and (kind, name) not in IN_SHORT:
        pytest.skip("a pair for --full")
    with loop_file_system(kind, tmp_path) as disk:
        empty = used(disk)
        yield extracted(name, disk, kind=kind), empty


def used(path: Path) -> int:
    system = os.statvfs(path)
    return system.f_files - system.f_ffree


def used_in_the_end(path: Path, expected: int) -> int:
    """xfs frees the inodes of removed files a moment later (fs/xfs/xfs_icache.c, inodegc)."""
    deadline = time.monotonic() + 5
    while used(path) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return used(path)


def plainly_counted(path: Path) -> int:
    """Distinct inodes by lstat of every name: slow, and nothing to get wrong."""
    inodes = {path.lstat().st_ino}
    for directory, subdirectories, files in os.walk(os.fsencode(path)):
        inodes.update(os.lstat(os.path.join(directory, n)).st_ino for n in subdirectories + files)
    return len(inodes)


def test_every_inode_is_accounted_for(captured: Captured) -> None:
    data_root, empty = captured
    told = report(Store.open(data_root))
    assert told.total == plainly_counted(data_root)
    assert told.total + empty == used(data_root) == told.file_system.used
    assert told.file_system.own == empty
    assert told.elsewhere == 0
    (data_root.parent / "not Docker's").touch()
    assert report(Store.open(data_root)).elsewhere == 1


@pytest.mark.parametrize("keep", [True, False])
def test_the_prediction_is_what_a_migration_leaves(captured: Captured, keep: bool) -> None:
    data_root, empty = captured
    store = Store.open(data_root)
    predicted = report(store, keep_directory_times=keep).total_as_overlay2
    assert predicted is not None
    engine.run(data_root, Options(keep_directory_times=keep))
    finish.purge(data_root)
    assert used_in_the_end(data_root, predicted + empty) - empty == predicted
    after = report(Store.open(data_root, "overlay2"))
    assert after.total == predicted
    assert after.elsewhere == 0


def test_what_is_broken_is_counted_all_the_same(captured: Captured) -> None:
    """Whatever of a store is lost or cannot be read, every inode has its place."""
    data_root, empty = captured
    layerdb = data_root / "image/overlay/layerdb"
    bottom = max(report(Store.open(data_root)).layers, key=lambda use: use.tree.files)
    shutil.rmtree(data_root / "overlay" / bottom.name / "root")
    (first_of(layerdb / "sha256") / "cache-id").write_text("garbage")
    first_of(data_root / "image/overlay/imagedb/content/sha256").write_text("{")
    (first_of(data_root / "containers") / "config.v2.json").write_text("garbage")
    (first_of(layerdb / "mounts") / "parent").unlink(missing_ok=True)
    store = Store.open(data_root)
    assert store.errors
    told = report(store)
    assert told.total == plainly_counted(data_root)
    assert used_in_the_end(data_root, told.total + empty) == told.total + empty
    assert told.total_as_overlay2 is None
    assert told.no_overlay2


def first_of(directory: Path) -> Path:
    return min(directory.iterdir())


def test_layers_images_and_containers_add_up(captured: Captured) -> None:
    data_root, _ = captured
    store = Store.open(data_root)
    told = report(store)
    assert told.in_layers == plainly_counted(data_root / "overlay")
    names = {use.name: use for use in told.layers}
    assert set(names) == set(os.listdir(data_root / "overlay"))
    for image in told.images:
        chain = [names[record.cache_id] for record in store.chain(store.images[_image(image.id)])]
        assert image.inodes == sum(use.inodes for use in chain)
        assert image.tree.directories == sum(use.tree.directories for use in chain)
        assert image.own <= image.inodes
    assert len(told.containers) == len(store.mounts)
    assert sum(container.own for container in told.containers) == sum(
        use.inodes for use in told.layers if use.kind in ("init", "container")
    )


def test_a_tree_is_counted_by_kind(captured: Captured) -> None:
    """Each layer's names, seen plainly: directories by `stat`, the rest by their inode."""
    data_root, _ = captured
    seen: Set[int] = set()
    for use in report(Store.open(data_root)).layers:
        home = data_root / "overlay" / use.name
        kinds: Counter[str] = collections.Counter()
        for top in (home / "root", home / "upper"):
            if top.is_dir():
                count_plainly(top, seen, kinds)
        tree = use.tree
        assert kinds == collections.Counter(
            dir=tree.directories,
            file=tree.files,
            symlink=tree.symlinks,
            special=tree.specials,
            shared=tree.shared,
        )


def count_plainly(top: Path, seen: Set[int], kinds: Counter[str]) -> None:
    kinds["dir"] += 1
    for directory, subdirectories, files in os.walk(os.fsencode(top)):
        for name in subdirectories + files:
            status = os.lstat(os.path.join(directory, name))
            if stat.S_ISDIR(status.st_mode):
                kinds["dir"] += 1
                continue
            known = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}
            new = status.st_ino not in seen
            kinds[known.get(stat.S_IFMT(status.st_mode), "special") if new else "shared"] += 1
            seen.add(status.st_ino)


def _image(text: str) -> ImageId:
    return ImageId.parse(text)


def test_a_data_root_that_is_the_mount_point(tmp_path: Path) -> None:
    for kind in ("ext4", "xfs"):
        with loop_file_system(kind, tmp_path) as disk:
            extracted("v2010-overlay", disk, kind=kind)
            for path in (disk / "docker").iterdir():
                path.rename(disk / path.name)
            (disk / "docker").rmdir()
            told = report(Store.open(disk))
            assert told.elsewhere == 0
            assert told.total == plainly_counted(disk)
