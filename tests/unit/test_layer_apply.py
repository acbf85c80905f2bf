"""Applying a layer: Docker's rules, and a parent that stays exactly as it was."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Callable, List, Optional

import pytest

from ovl1.errors import LayerError, Refused
from ovl1.layer.apply import Applied, apply_to_root
from ovl1.linux.beneath import Directory
from ovl1.tree.clone import clone
from tests.support.layers import Made, entry, make_tar, snapshot

pytestmark = pytest.mark.needs("root")

DIR, LINK, SYMLINK, FIFO, CHAR = b"5", b"1", b"2", b"6", b"3"

BASE = [
    entry("./", DIR, mode=0o751, mtime=5),
    entry("etc/", DIR, mode=0o700, uid=3, gid=4, mtime=77),
    entry("etc/passwd", data=b"root", uid=1, gid=2, mode=0o4755),
    entry("etc/link", SYMLINK, linkname="passwd"),
    entry("etc/hard", LINK, linkname="etc/passwd", uid=1, gid=2, mode=0o4755),
    entry("dev/null", CHAR, devmajor=1, devminor=3, mode=0o666),
    entry("dev/fifo", FIFO),
    entry("data/old", data=b"old"),
    entry("data/sub/older", data=b"older"),
]


class Trees:
    """A chain of layers below a directory."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def apply(self, name: str, tar: List[Made], parent: Optional[str] = None) -> Applied:
        target = self.base / name
        target.mkdir()
        below = Directory.open(self.base / parent) if parent else None
        before = snapshot(self.base / parent) if parent else None
        try:
            with Directory.open(target) as directory:
                applied = apply_to_root(make_tar(tar), below, directory)
        finally:
            if below:
                below.close()
            if parent:
                assert snapshot(self.base / parent) == before
        return applied

    def stat(self, path: str) -> os.stat_result:
        return os.lstat(self.base / path)

    def names(self, path: str) -> List[str]:
        return sorted(os.listdir(self.base / path))


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    made = Trees(tmp_path)
    made.apply("base", BASE)
    return made


def test_a_base_layer(trees: Trees) -> None:
    root, passwd = trees.stat("base"), trees.stat("base/etc/passwd")
    assert (stat.S_IMODE(root.st_mode), root.st_mtime) == (0o751, 5)
    etc = trees.stat("base/etc")
    assert (stat.S_IMODE(etc.st_mode), etc.st_uid, etc.st_gid, etc.st_mtime) == (0o700, 3, 4, 77)
    assert (stat.S_IMODE(passwd.st_mode), passwd.st_uid, passwd.st_gid) == (0o4755, 1, 2)
    assert passwd.st_mtime_ns == 10**18
    assert trees.stat("base/etc/hard").st_ino == passwd.st_ino
    assert os.readlink(trees.base / "base/etc/link") == "passwd"
    assert trees.stat("base/dev/null").st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO(trees.stat("base/dev/fifo").st_mode)
    assert stat.S_IMODE(trees.stat("base/dev").st_mode) == 0o755


def test_size_is_the_sum_of_the_headers(tmp_path: Path) -> None:
    applied = Trees(tmp_path).apply(
        "one", [entry("a", data=b"12"), entry(".wh.b", data=b"3"), entry(".wh..wh.x", data=b"4")]
    )
    assert applied == Applied(size=4, entries=3)


def test_everything_but_directories_is_shared(trees: Trees) -> None:
    trees.apply("top", [entry("new")], "base")
    for path in ("etc/passwd", "etc/hard", "etc/link", "dev/null", "dev/fifo", "data/sub/older"):
        assert trees.stat(f"top/{path}").st_ino == trees.stat(f"base/{path}").st_ino
    for path in ("etc", "data/sub"):
        mine, theirs = trees.stat(f"top/{path}"), trees.stat(f"base/{path}")
        assert mine.st_ino != theirs.st_ino
        assert (mine.st_mode, mine.st_uid, mine.st_mtime_ns) == (
            theirs.st_mode,
            theirs.st_uid,
            theirs.st_mtime_ns,
        )


def test_changed_files_are_new_inodes(trees: Trees) -> None:
    trees.apply("top", [entry("./etc//passwd", data=b"changed"), entry("etc/", DIR)], "base")
    assert (trees.base / "top/etc/passwd").read_bytes() == b"changed"
    assert (trees.base / "top/etc/hard").read_bytes() == b"root"
    assert stat.S_IMODE(trees.stat("top/etc").st_mode) == 0o755
    assert trees.names("top/etc") == ["hard", "link", "passwd"]


def test_types_replace_each_other(trees: Trees) -> None:
    changes = [
        entry("data", SYMLINK, linkname="../../outside"),
        entry("etc/passwd/", DIR),
        entry("etc/passwd/x"),
        entry("etc/link", data=b"file"),
    ]
    trees.apply("top", changes, "base")
    assert os.readlink(trees.base / "top/data") == "../../outside"
    assert trees.names("top/etc/passwd") == ["x"]
    assert (trees.base / "top/etc/link").read_bytes() == b"file"


def test_whiteouts(trees: Trees) -> None:
    changes = [
        entry("etc/.wh.passwd"),
        entry(".wh.data"),
        entry("dev/.wh.missing"),
        entry("new"),
        entry(".wh.new"),
        entry(".wh..wh.plnk/1.2", data=b"x"),
    ]
    trees.apply("top", changes, "base")
    assert trees.names("top") == ["dev", "etc"]
    assert trees.names("top/etc") == ["hard", "link"]


def test_opaque_removes_what_this_layer_did_not_unpack(trees: Trees) -> None:
    changes = [
        entry("data/sub/", DIR),
        entry("data/sub/new"),
        entry("data/implied/file"),
        entry("data/.wh..wh..opq"),
        entry("data/later"),
    ]
    trees.apply("top", changes, "base")
    assert trees.names("top/data") == ["later", "sub"]
    assert trees.names("top/data/sub") == ["new"]


def test_hard_links_to_the_parent_do_not_change_it(trees: Trees) -> None:
    same = {"uid": 1, "gid": 2, "mode": 0o4755}
    changes = [
        entry("shared", LINK, linkname="/etc/hard", **same),
        entry("own", LINK, linkname="etc/passwd", **{**same, "mode": 0o600}),
        entry("sym", LINK, linkname="etc/link", uid=7),
        entry("pipe", LINK, linkname="dev/fifo", mode=0o600),
    ]
    trees.apply("top", changes, "base")
    assert trees.stat("top/shared").st_ino == trees.stat("base/etc/hard").st_ino
    own = trees.stat("top/own")
    assert own.st_ino == trees.stat("top/etc/passwd").st_ino
    assert (stat.S_IMODE(own.st_mode), own.st_size, own.st_nlink) == (0o600, 4, 2)
    assert trees.stat("top/sym").st_uid == trees.stat("top/etc/link").st_uid == 7
    assert os.readlink(trees.base / "top/sym") == "passwd"
    assert stat.S_ISFIFO(trees.stat("top/pipe").st_mode)


def test_times_are_clamped_as_docker_does(tmp_path: Path) -> None:
    trees = Trees(tmp_path)
    times = [
        entry("file", mtime=-86400),
        entry("link", SYMLINK, linkname="x", mtime=-86400),
        entry("dir", DIR, mtime=1.25),
        entry("far", mtime=1 << 40),
    ]
    trees.apply("one", times)
    found = [trees.stat(f"one/{name}").st_mtime for name in ("file", "link", "dir", "far")]
    assert found == [0, -86400, 1.25, 0]
    assert trees.stat("one/dir").st_atime == 0


def test_attributes(tmp_path: Path) -> None:
    trees = Trees(tmp_path)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    attributes = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    attributes["SCHILY.xattr.trusted.x"] = "y"
    trees.apply("base", [entry("f", pax_headers=attributes), entry("d", DIR)])
    assert os.getxattr(tmp_path / "base/f", "security.capability") == capability
    os.setxattr(tmp_path / "base/d", "trusted.kept", b"1")
    links = [
        entry("same", LINK, linkname="f", pax_headers=attributes),
        entry("other", LINK, linkname="f", pax_headers={"SCHILY.xattr.trusted.x": "z"}),
    ]
    trees.apply("top", links, "base")
    assert os.getxattr(tmp_path / "top/d", "trusted.kept") == b"1"
    listed = [entry("d", DIR, pax_headers={"SCHILY.xattr.trusted.new": "2"})]
    trees.apply("listed", listed, "top")
    assert os.listxattr(tmp_path / "listed/d") == ["trusted.new"]
    assert os.getxattr(tmp_path / "top/same", "trusted.x") == b"y"
    assert os.getxattr(tmp_path / "top/other", "trusted.x") == b"z"


def test_what_the_file_system_cannot_keep_is_reported(tmp_path: Path) -> None:
    attributes = {"SCHILY.xattr.user.x": "y"}
    links = [entry(name, SYMLINK, linkname="x", pax_headers=dict(attributes)) for name in "ab"]
    (warning,) = Trees(tmp_path).apply("one", links).warnings
    assert warning.startswith("user.x was not set, first on 'a': ")


REFUSED = {
    "no tar": None,
    "escape": [entry("../x")],
    "bare whiteout": [entry("etc/.wh..")],
    "over a dangling link": [entry("l", SYMLINK, linkname="nowhere"), entry("l/x")],
    "over a loop": [entry("l", SYMLINK, linkname="l"), entry("l/x")],
    "over a file": [entry("etc/passwd/x")],
    "opaque file": [entry("etc/passwd/.wh..wh..opq")],
    "link to nothing": [entry("x", LINK, linkname="nothing")],
    "link to itself": [entry("etc/passwd", LINK, linkname="etc/passwd")],
    "link to its own": [entry("a/x"), entry("a", LINK, linkname="a/x")],
    "link over a loop": [entry("l", SYMLINK, linkname="l"), entry("x", LINK, linkname="l/hard")],
    "link to a directory": [entry("x", LINK, linkname="etc")],
    "link to the root": [entry("x", LINK, linkname=".")],
    "link into plnk": [entry("x", LINK, linkname=".wh..wh.plnk/1.2")],
    "root as a file": [entry("./")],
    "owner": [entry("x", uid=(1 << 32) - 1)],
    "device": [entry("x", CHAR, devmajor=0o77777)],
    "unknown type": [entry("x", b"Z")],
    "no target": [entry("x", SYMLINK)],
    "long target": [entry("x", SYMLINK, linkname="x/" * 2100)],
    "whiteout device": [entry("x", CHAR, devmajor=0, devminor=0)],
    "overlay's attribute": [
        entry("d", DIR, pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"})
    ],
    "bad attribute": [entry("d", DIR, pax_headers={"SCHILY.xattr.security.capability": "y"})],
    "whiteout for a directory": [entry("etc/.wh.d/x")],
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(trees: Trees, what: str) -> None:
    tar = REFUSED[what]
    before = snapshot(trees.base / "base")
    if tar is not None:
        with pytest.raises(LayerError):
            trees.apply("top", tar, "base")
    else:
        with Directory.open(trees.base / "base/data/sub") as parent:
            (trees.base / "top").mkdir()
            with Directory.open(trees.base / "top") as target, pytest.raises(LayerError):
                apply_to_root(io.BytesIO(b"x" * 512), parent, target)
    assert snapshot(trees.base / "base") == before
    assert trees.names(".") == ["base", "top"]


def test_a_tree_is_not_applied_to_twice(trees: Trees) -> None:
    with Directory.open(trees.base / "base") as target, pytest.raises(Refused):
        apply_to_root(make_tar([]), None, target)


def test_the_tar_is_read_to_its_end(tmp_path: Path) -> None:
    tar = io.BytesIO(make_tar([entry("a")]).read() + b"x" * 3000000)
    with Directory.open(tmp_path) as target:
        apply_to_root(tar, None, target)
    assert tar.read() == b""


def _links_until(limit: int) -> Callable[..., None]:
    real = os.link

    def link(source: bytes, target: bytes, **places: int) -> None:
        status = os.stat(source, dir_fd=places["src_dir_fd"], follow_symlinks=False)
        if status.st_nlink >= limit:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        real(source, target, follow_symlinks=False, **{k: places[k] for k in places if "fd" in k})

    return link


def test_what_has_too_many_links_is_copied_once(
    trees: Trees, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    monkeypatch.setattr(os, "link", _links_until(3))
    with Directory.open(tmp_path / "base") as source:
        before = len(trees.names("base/etc"))
        with Directory.open(tmp_path / "copy") as target:
            clone(source, target)
    assert len(trees.names("copy/etc")) == before
    shared = [trees.stat(f"base/etc/{name}").st_ino for name in ("passwd", "hard")]
    found = [trees.stat(f"copy/etc/{name}").st_ino for name in ("passwd", "hard")]
    assert len({*shared, *found}) == 2
    assert (tmp_path / "copy/etc/hard").read_bytes() == b"root"
    assert stat.S_IMODE(trees.stat("copy/etc/hard").st_mode) == 0o4755


def test_no_descriptor_stays_open(trees: Trees) -> None:
    before = len(os.listdir("/proc/self/fd"))
    trees.apply("top", [entry("a/b/c")], "base")
    with pytest.raises(LayerError):
        trees.apply("other", [entry("a/b/c"), entry("a/b/c/d/e")], "base")
    assert len(os.listdir("/proc/self/fd")) == before
