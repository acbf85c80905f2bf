"""Extended attributes of everything that has them, itself and not what it points to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ovl1.linux import mounts, xattrs
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.model import Mount

pytestmark = pytest.mark.needs("root", "loop", "mkfs.ext4")

VALUES = [b"", b"y", b"\0\xff\n", bytes(range(256)), b"x" * 3000]


@pytest.fixture(scope="module")
def file_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("xattrs")
    # All attributes of an inode share a block.
    with loop_file_system("ext4", base, 16 << 20, mkfs_options=["-b", "4096"]) as mounted:
        yield mounted


@pytest.fixture
def path(file_system: Path, request: pytest.FixtureRequest) -> Path:
    path = file_system / str(abs(hash(request.node.nodeid)))
    path.mkdir()
    return path


@pytest.fixture
def here(path: Path) -> Iterator[Directory]:
    with Directory.open(path) as directory:
        yield directory


def make(path: Path, kind: str) -> None:
    """An entry ``it`` of some kind."""
    it = path / "it"
    if kind == "link":
        it.symlink_to("target")
        (path / "target").touch()
    elif kind == "dangling":
        it.symlink_to("nothing")
    elif kind == "dir":
        it.mkdir()
    elif kind == "fifo":
        os.mkfifo(it)
    elif kind == "device":
        os.mknod(it, stat.S_IFCHR | 0o600, os.makedev(0, 0))
    else:
        it.touch()


@pytest.mark.parametrize("kind", ["file", "dir", "link", "dangling", "fifo", "device"])
@pytest.mark.parametrize("value", VALUES, ids=len)
def test_of_an_entry(path: Path, here: Directory, kind: str, value: bytes) -> None:
    make(path, kind)
    assert xattrs.read_at(here.fd, b"it") == {}
    xattrs.set_at(here.fd, b"it", "trusted.ovl1", value)
    assert xattrs.read_at(here.fd, b"it") == {"trusted.ovl1": value}
    assert os.getxattr(path / "it", "trusted.ovl1", follow_symlinks=False) == value
    if kind == "link":
        assert xattrs.read_at(here.fd, b"target") == {}
        assert os.listxattr(path / "target") == []


@pytest.mark.parametrize("value", VALUES, ids=len)
def test_of_an_open_directory(here: Directory, value: bytes) -> None:
    xattrs.set_fd(here.fd, "trusted.overlay.opaque", b"x")
    xattrs.set_fd(here.fd, "trusted.overlay.opaque", value)
    xattrs.set_fd(here.fd, "user.more", b"more")
    assert xattrs.read_fd(here.fd) == {"trusted.overlay.opaque": value, "user.more": b"more"}
    xattrs.remove_fd(here.fd, "trusted.overlay.opaque")
    assert xattrs.read_fd(here.fd) == {"user.more": b"more"}


def test_many_at_once(path: Path, here: Directory) -> None:
    make(path, "file")
    wanted = {f"user.number{number}": b"%d" % number for number in range(50)}
    for name, value in wanted.items():
        xattrs.set_at(here.fd, b"it", name, value)
    assert xattrs.read_at(here.fd, b"it") == wanted


def test_awkward_entry_names(path: Path, here: Directory) -> None:
    for name in (b"line\nbreak", b"no\xffutf8", b" ", b"..."):
        (path / os.fsdecode(name)).touch()
        xattrs.set_at(here.fd, name, "user.ovl1", name)
        assert xattrs.read_at(here.fd, name) == {"user.ovl1": name}


def test_names_in_another_script(path: Path, here: Directory) -> None:
    make(path, "file")
    os.setxattr(path / "it", "user.\N{SNOWMAN}", b"cold")
    assert xattrs.read_at(here.fd, b"it") == {"user.\N{SNOWMAN}": b"cold"}


def test_a_name_that_is_not_utf8(path: Path, here: Directory) -> None:
    make(path, "file")
    os.setxattr(path / "it", b"user.\xff", b"value")
    with pytest.raises(OSError, match="not UTF-8") as caught:
        xattrs.read_at(here.fd, b"it")
    assert caught.value.errno == errno.EILSEQ
    assert "it" in str(caught.value)
    assert r"\xff" in str(caught.value)


@pytest.mark.parametrize("kind", ["link", "dangling"])
def test_links_have_no_user_attributes(path: Path, here: Directory, kind: str) -> None:
    make(path, kind)
    with pytest.raises(PermissionError):
        xattrs.set_at(here.fd, b"it", "user.ovl1", b"y")
    if kind == "link":
        assert os.listxattr(path / "target") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda here: xattrs.remove_fd(here.fd, "user.missing"),
        lambda here: xattrs.read_at(here.fd, b"missing"),
        lambda here: xattrs.set_at(here.fd, b"missing", "user.x", b""),
        lambda here: xattrs.set_fd(here.fd, "unknown.space", b""),
        lambda here: xattrs.set_fd(here.fd, "user.big", bytes(1 << 17)),
    ],
    ids=["no-attribute", "no-entry", "set-no-entry", "no-namespace", "too-big"],
)
def test_what_cannot_be(here: Directory, change: Callable[[Directory], object]) -> None:
    with pytest.raises(OSError, match="Errno"):
        change(here)
    assert xattrs.read_fd(here.fd) == {}


@pytest.mark.parametrize("fstype", ["proc", "ramfs"])
def test_where_there_are_none(path: Path, fstype: str) -> None:
    with mounts.mounted(Mount(fstype, fstype), path):
        name = b"version" if fstype == "proc" else b"file"
        if fstype == "ramfs":
            (path / "file").touch()
        with Directory.open(path) as here:
            assert xattrs.read_fd(here.fd) == {}
            assert xattrs.read_at(here.fd, name) == {}
            with pytest.raises(OSError, match="Errno"):
                xattrs.set_at(here.fd, name, "user.ovl1", b"y")
