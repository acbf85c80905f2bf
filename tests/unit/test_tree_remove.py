"""Removing trees: all of it, nothing else, and not across mounts."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Iterator, List

import hypothesis
import pytest

from ovl1.linux import libc, mounts
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.linux.trail import Trail
from ovl1.tree import remove as module
from ovl1.tree.remove import remove_tree
from tests.support.inode_flags import immutable
from tests.support.manifest import differences, manifest
from tests.support.trees import Change, change, changes, furnish

DEEP = 5000
_MS_BIND = 0x1000


@pytest.fixture(scope="module", params=["ext4", "xfs", "btrfs"])
def disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    with loop_file_system(request.param, tmp_path_factory.mktemp("r"), 1 << 30) as mounted:
        yield mounted


@pytest.fixture(params=[1, 2, 3])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many; they are put to work however small the tree is."""
    monkeypatch.setattr(module, "_WORTH_FORKING", 0)
    number: int = request.param
    return number


def removed(parent: Path, name: str, workers: int | None = 1) -> int:
    with Directory.open(parent) as directory:
        return remove_tree(directory, os.fsencode(name), workers=workers)


def number_of_names(root: Path) -> int:
    return 1 + sum(1 for _ in root.rglob("*"))


def test_all_of_it_and_nothing_else(tmp_path: Path, workers: int) -> None:
    furnish(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (tmp_path / "a/out").symlink_to("../outside")
    (tmp_path / "a/empty").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/a/\xff\n")
    os.link(tmp_path / "outside/file", tmp_path / "a/file")
    os.link(tmp_path / "a/file", tmp_path / "a/b/file")
    gone = number_of_names(tmp_path / "a")
    assert removed(tmp_path, "a", workers) == gone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c", "d \udcff\n", "outside"]
    assert (tmp_path / "outside/file").read_text() == "x"
    assert (tmp_path / "outside/file").stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["file", "symlink", "symlink to a directory", "fifo"])
def test_what_is_no_directory(tmp_path: Path, kind: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").touch()
    it = tmp_path / "it"
    if kind == "file":
        it.touch()
    elif kind == "fifo":
        os.mkfifo(it)
    else:
        it.symlink_to("dir" if "directory" in kind else "nowhere")
    assert removed(tmp_path, "it") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["dir"]
    assert (tmp_path / "dir/file").exists()


def test_gone_already(tmp_path: Path) -> None:
    assert removed(tmp_path, "it") == 0


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0"])
def test_a_name_is_one_component(tmp_path: Path, name: bytes) -> None:
    with Directory.open(tmp_path) as parent, pytest.raises(ValueError, match="not a file name"):
        remove_tree(parent, name)


@pytest.mark.needs("root")
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("at", ["top/a/b", "top"])
def test_what_is_mounted_below_is_not_touched(
    tmp_path: Path, workers: int, kind: str, at: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "top/a/b").mkdir(parents=True)
    flags = _MS_BIND if kind == "bind" else 0
    libc.mount(str(tmp_path / "elsewhere"), str(tmp_path / at), kind, flags, "")
    try:
        (tmp_path / at / "x/y").mkdir(parents=True)
        (tmp_path / at / "x/file").write_text("x")
        before = manifest(tmp_path / at)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is looked at
            removed(tmp_path, "top", workers)
        assert caught.value.errno == errno.EBUSY
        assert differences(before, manifest(tmp_path / at)) == []
    finally:
        mounts.umount(tmp_path / at)
    assert removed(tmp_path, "top", workers) > 0
    assert not (tmp_path / "top").exists()


@pytest.mark.needs("root", "loop", "mkfs.ext4")
def test_what_cannot_be_removed_is_said(tmp_path: Path, workers: int) -> None:
    for number in range(20):
        (tmp_path / "top/a" / str(number)).mkdir(parents=True)
        (tmp_path / "top/a" / str(number) / "file").touch()
    open_files = len(os.listdir("/proc/self/fd"))
    with immutable(tmp_path / "top/a/7/file"), pytest.raises(PermissionError):
        removed(tmp_path, "top", workers)
    assert (tmp_path / "top/a/7/file").exists()
    assert len(os.listdir("/proc/self/fd")) == open_files
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert removed(tmp_path, "top", workers) > 0


@pytest.mark.needs("root", "loop", "mkfs.ext4")
@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_tree_of_many_levels(disk: Path, workers: int) -> None:
    names = 1
    with Directory.open(disk) as parent:
        parent.mkdir(b"top")
        with parent.child(b"top") as top, Trail(top) as trail:
            for depth in range(DEEP):
                here = trail.at(depth)
                here.mknod(b"f", stat.S_IFREG | 0o600)
                if depth % 10 == 0:
                    here.mkdir(b"b")
                    names += 1
                here.mkdir(b"a")
                trail.enter(depth, b"a")
                names += 2
        open_files = len(os.listdir("/proc/self/fd"))
        assert remove_tree(parent, b"top", workers=workers) == names
        assert len(os.listdir("/proc/self/fd")) == open_files
        assert not parent.exists(b"top")


@pytest.mark.needs("root", "loop", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
def test_large_trees_are_shared_out_unasked(disk: Path, full: bool) -> None:
    number = 20_000 if full else 2000
    for directory in range(6):
        below = disk / "top" / str(directory) / "below"
        below.mkdir(parents=True)
        for index in range(number):
            if index % 1000 == 0:
                first = below / str(index)
                first.touch()
            else:
                os.link(first, below / str(index))
    assert removed(disk, "top", None) == 6 * number + 13
    assert not (disk / "top").exists()


@hypothesis.given(todo=changes)
def test_any_tree(todo: List[Change]) -> None:
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_WORTH_FORKING", 0)
            root = Path(name, "root")
            root.mkdir()
            furnish(root)
            change(root, todo)
            names = number_of_names(root)
            assert removed(Path(name), "root", workers) == names
            assert os.listdir(name) == []
