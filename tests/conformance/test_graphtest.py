"""What Docker's own tests of its drivers do (daemon/graphdriver/graphtest), and always."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Dict, Tuple

import pytest

from ovl1.driver.base import Driver
from ovl1.formats.tarstream import as_file
from ovl1.model import LayerId
from tests.conformance.world import SOCKET, A, C, D, World

FILES = 2000
DEPTH = 50


def check(path: Path, kind: int, mode: int, uid: int, gid: int) -> None:
    status = os.lstat(path)
    assert stat.S_IFMT(status.st_mode) == kind
    assert stat.S_IMODE(status.st_mode) == mode
    assert (status.st_uid, status.st_gid) == (uid, gid)


def make_base(root: Path) -> None:
    for name, mode in (("a subdir", 0o705 | stat.S_ISVTX), ("b subdir", 0o2775)):
        (root / name).mkdir()
        os.chown(root / name, 1, 2)
        (root / name).chmod(mode)
    for name, mode, owner in (
        ("a file", 0o222 | stat.S_ISUID, (0, 0)),
        ("a subdir/in it", 0o2755, (1, 2)),
        ("b subdir/for nobody", 0, (65534, 65534)),
    ):
        (root / name).write_text(name)
        os.chown(root / name, *owner)
        (root / name).chmod(mode)
    os.symlink("a file", root / "link")
    os.chown(root / "link", 3, 4, follow_symlinks=False)


def check_base(root: Path) -> None:
    check(root / "a subdir", stat.S_IFDIR, 0o705 | stat.S_ISVTX, 1, 2)
    check(root / "b subdir", stat.S_IFDIR, 0o2775, 1, 2)
    check(root / "a file", stat.S_IFREG, 0o222 | stat.S_ISUID, 0, 0)
    check(root / "a subdir" / "in it", stat.S_IFREG, 0o2755, 1, 2)
    check(root / "b subdir" / "for nobody", stat.S_IFREG, 0, 65534, 65534)
    check(root / "link", stat.S_IFLNK, 0o777, 3, 4)
    assert sorted(os.listdir(root)) == ["a file", "a subdir", "b subdir", "link"]


@pytest.fixture
def base(world: World) -> LayerId:
    layer_id = world.container(None)
    with world.at(layer_id) as root:
        make_base(root)
    return layer_id


def test_a_driver_is_one(world: World) -> None:
    driver: Driver = world.driver
    assert driver.layout.home.is_dir()


def test_create_empty(world: World) -> None:
    layer_id = world.empty()
    assert world.driver.exists(layer_id)
    with world.at(layer_id) as root:
        check(root, stat.S_IFDIR, 0o755, 0, 0)
        assert os.listdir(root) == []


def test_create_base(world: World, base: LayerId) -> None:
    with world.at(base) as root:
        check_base(root)


def test_create_snapshot(world: World, base: LayerId) -> None:
    before = world.shown(base)
    snapshot = world.container(base)
    with world.at(snapshot) as root:
        check_base(root)
        check(root, stat.S_IFDIR, 0o755, 0, 0)
        (root / "a file").write_text("changed")
        (root / "a subdir" / "in it").unlink()
        (root / "a subdir" / "new").write_text("new")
        (root / "b subdir").chmod(0o700)
        os.rename(root / "link", root / "a subdir" / "moved")
    # What is mounted anew shows the same.
    with world.at(snapshot) as root:
        assert (root / "a file").read_text() == "changed"
        assert sorted(os.listdir(root / "a subdir")) == ["moved", "new"]
        check(root / "b subdir", stat.S_IFDIR, 0o700, 1, 2)
    assert world.shown(base) == before
    assert world.changes(snapshot, base) == {
        "/a file": C,
        "/a subdir": C,
        "/a subdir/in it": D,
        "/a subdir/moved": A,
        "/a subdir/new": A,
        "/b subdir": C,
        "/link": D,
    }


def test_deep_layer_read(world: World) -> None:
    content = os.urandom(100_000)
    parent = world.container(None)
    with world.at(parent) as root:
        (root / "testfile.txt").write_bytes(content)
    for number in range(1, DEPTH):
        layer_id = world.container(parent)
        with world.at(layer_id) as root:
            assert (root / "testfile.txt").read_bytes() == content
            (root / "layers").mkdir(exist_ok=True)
            (root / "layers" / f"layer-{number}").write_text(f"layer {number}")
            (root / "top-id").write_text(layer_id)
        parent = layer_id
    with world.at(world.container(parent)) as root:
        assert (root / "testfile.txt").read_bytes() == content
        assert len(os.listdir(root / "layers")) == DEPTH - 1
        assert (root / "top-id").read_text() == parent


def fill(root: Path, seed: int) -> Dict[str, bytes]:
    """Thousands of files, fifty in a directory."""
    chance = random.Random(seed)
    made = {}
    for number in range(FILES):
        name = f"dir-{number // 50}/file-{number}"
        (root / name).parent.mkdir(exist_ok=True)
        made[name] = os.urandom(chance.randrange(64))
        (root / name).write_bytes(made[name])
    return made


def edit(root: Path, files: Dict[str, bytes]) -> Tuple[Dict[str, bytes], Dict[str, object]]:
    """Add, change and delete; the files as they are then, and the changes."""
    now = dict(files)
    changed: Dict[str, object] = {}
    for number, name in enumerate(files):
        act = (A, C, D, None)[number % 4]
        if act is None:
            continue
        path = f"{name}-more" if act == A else name
        changed[f"/{path}"] = act
        changed[f"/{os.path.dirname(name)}"] = C
        if act == D:
            (root / path).unlink()
            del now[path]
        else:
            # Of the same length, and in the same second: only the content tells.
            now[path] = bytes(255 - byte for byte in files[name]) or b"!"
            (root / path).write_bytes(now[path])
    return now, changed


def test_diff_and_apply_thousands_of_files(world: World) -> None:
    base, upper = world.container(None), None
    with world.at(base) as root:
        files = fill(root, 3)
    upper = world.container(base)
    with world.at(upper) as root:
        now, expected = edit(root, files)
    assert world.changes(upper, base) == expected

    applied = world.empty(base)
    tar = as_file(world.driver.diff(upper, base))
    done = world.driver.apply_diff(applied, base, tar)
    size = sum(len(now[name]) for name in now if files.get(name) != now[name])
    assert done.size == world.driver.diff_size(upper, base) == size
    with world.at(applied) as root:
        found = {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }
    assert found == now
    listed = world.changes(applied, base)
    if world.kind is SOCKET:
        # It answers as Docker, to which a file of the same length and second is the same.
        listed.update({path: C for path, act in expected.items() if act == C})
    assert listed == expected
    with world.at(base) as root:
        assert all((root / name).read_bytes() == data for name, data in files.items())


def test_the_whole_tree_as_a_tar(world: World, base: LayerId) -> None:
    copy = world.empty()
    world.driver.apply_diff(copy, None, as_file(world.driver.diff(base, None)))
    with world.at(copy) as root:
        check_base(root)
    assert world.driver.changes(copy, None) == world.driver.changes(base, None)


def test_nothing_changed(world: World, base: LayerId) -> None:
    same = world.container(base)
    assert world.driver.changes(same, base) == []
    assert world.driver.diff_size(same, base) == 0
    assert b"".join(world.driver.diff(same, base)) == bytes(1024)
