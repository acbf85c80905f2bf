"""Overlay directories: what is in them, and what the kernel shows of them over the layers below.

Each of these is wrong, or fails, in Docker 20.10's own unpacking for overlay2, or is its format.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import pytest

from ovl1.errors import LayerError, Refused
from ovl1.layer.apply import Applied, apply_to_diff
from ovl1.layer.policy import Policy
from ovl1.linux import libc
from ovl1.linux.beneath import Directory
from ovl1.model import IdMaps, IdRange
from ovl1.tree.view import StackView
from tests.support.layers import Made, entry, make_tar, snapshot

pytestmark = pytest.mark.needs("root", "overlay")

DIR, LINK, SYMLINK = b"5", b"1", b"2"
OPAQUE = "trusted.overlay.opaque"

BASE = [
    entry("./", DIR, mode=0o751, uid=8, gid=9),
    entry("etc/", DIR, mode=0o2770, uid=1, gid=2, pax_headers={"SCHILY.xattr.trusted.x": "y"}),
    entry("etc/passwd", data=b"root", mode=0o4755, uid=1, gid=2),
    entry("etc/hosts", data=b"hosts"),
    entry("etc/sub/deep/x", data=b"x"),
    entry("data/old", data=b"old"),
    entry("link", SYMLINK, linkname="etc"),
]


class Stack:
    """Layers, topmost first, and their mount."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.layers: List[Path] = []

    def add(self, entries: Sequence[Made], *, policy: Optional[Policy] = None) -> Path:
        target = self.base / f"diff{len(self.layers)}"
        target.mkdir()
        self.fill(target, entries, policy=policy)
        self.layers.insert(0, target)
        return target

    def fill(
        self,
        target: Path,
        entries: Sequence[Made],
        *,
        mounted: bool = False,
        policy: Optional[Policy] = None,
    ) -> Applied:
        before = [snapshot(layer) for layer in self.layers]
        with contextlib.ExitStack() as stack:
            layers = [stack.enter_context(Directory.open(layer)) for layer in self.layers]
            opened = stack.enter_context(Directory.open(target))
            applied = apply_to_diff(
                make_tar(entries),
                StackView(layers) if layers else None,
                opened,
                policy=policy or Policy(),
                mounted=mounted,
            )
        assert [snapshot(layer) for layer in self.layers] == before
        return applied

    @contextlib.contextmanager
    def mounted(self, *upper: Path) -> Iterator[Path]:
        at, empty = self.base / "mnt", self.base / "empty"
        at.mkdir(exist_ok=True)
        empty.mkdir(exist_ok=True)
        lowers = ":".join(map(str, (*upper, *self.layers, empty)))
        libc.mount("overlay", str(at), "overlay", 0, f"lowerdir={lowers}")
        try:
            yield at
        finally:
            libc.umount(str(at))

    def names(self, path: str = ".") -> List[str]:
        with self.mounted() as at:
            return sorted(os.listdir(at / path))


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    made = Stack(tmp_path)
    made.add(BASE)
    return made


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def metadata(path: Path) -> Tuple[int, int, int]:
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def test_only_what_the_layer_has_is_there(stack: Stack) -> None:
    diff = stack.add([entry("etc/new"), entry(".wh.data"), entry("etc/.wh.never")])
    assert sorted(os.listdir(diff)) == ["data", "etc"]
    assert sorted(os.listdir(diff / "etc")) == ["never", "new"]
    assert is_whiteout(diff / "data")
    assert is_whiteout(diff / "etc/never")
    assert stack.names() == ["etc", "link"]
    assert stack.names("etc") == ["hosts", "new", "passwd", "sub"]


def test_a_whiteout_has_the_owner_of_its_header(stack: Stack) -> None:
    maps = IdMaps((IdRange(0, 1000, 10),), (IdRange(0, 2000, 10),))
    diff = stack.add(
        [entry(".wh.data", uid=1, gid=2), entry("etc/.wh.hosts", uid=99)],
        policy=Policy(id_maps=maps),
    )
    assert metadata(diff / "data") == (0, 1001, 2002)
    assert metadata(diff / "etc/hosts") == (0, 1000, 2000)


def test_a_whiteout_over_nothing_is_not_listed(stack: Stack) -> None:
    """Where no directory is below, the kernel lists whiteouts, which then cannot be looked up."""
    stack.add([entry("new/.wh.x"), entry("data/.wh..wh..opq"), entry("data/.wh.old")])
    assert stack.names("new") == stack.names("data") == []


def test_passed_directories_keep_their_metadata(stack: Stack) -> None:
    diff = stack.add([entry("etc/sub/deep/y")])
    assert metadata(diff) == (0o751, 8, 9)
    assert metadata(diff / "etc") == (0o2770, 1, 2)
    assert os.getxattr(diff / "etc", "trusted.x") == b"y"
    assert metadata(diff / "etc/sub") == (0o755, 0, 0)
    assert OPAQUE not in os.listxattr(diff / "etc")
    assert stack.names("etc/sub/deep") == ["x", "y"]


def test_the_root_entry_counts(stack: Stack) -> None:
    diff = stack.add([entry("./", DIR, mode=0o700, mtime=5)])
    assert metadata(diff) == (0o700, 0, 0)
    assert diff.stat().st_mtime == 5


def test_an_opaque_marker(stack: Stack) -> None:
    diff = stack.add([entry("etc/implied/x"), entry("etc/mine"), entry("etc/.wh..wh..opq")])
    assert os.getxattr(diff / "etc", OPAQUE) == b"y"
    assert metadata(diff / "etc") == (0o2770, 1, 2)
    assert os.listdir(diff / "etc") == stack.names("etc") == ["mine"]


def test_an_opaque_root(stack: Stack) -> None:
    stack.add([entry("etc/", DIR), entry("mine"), entry(".wh..wh..opq"), entry("data/new")])
    assert stack.names() == ["data", "etc", "mine"]
    assert stack.names("etc") == []
    assert stack.names("data") == ["new"]


HIDING: Dict[str, List[Made]] = {
    "whiteout, then a directory": [entry(".wh.data"), entry("data/", DIR)],
    "whiteout, then an implied directory": [entry(".wh.data"), entry("data/new")],
    "file, then a directory": [entry("data"), entry("data/", DIR), entry("data/new")],
    "directory, whiteout, directory": [entry("data/", DIR), entry(".wh.data"), entry("data/", DIR)],
}


@pytest.mark.parametrize("how", HIDING)
def test_a_directory_made_again_does_not_show_the_old_one(how: str, stack: Stack) -> None:
    diff = stack.add(HIDING[how])
    assert os.getxattr(diff / "data", OPAQUE) == b"y"
    assert "old" not in stack.names("data")


def test_a_hard_link_to_a_file_below_copies_it_up(stack: Stack) -> None:
    diff = stack.add([entry("data/h", LINK, linkname="etc/passwd", mode=0o600, uid=7)])
    assert (diff / "data/h").read_bytes() == b"root"
    assert (diff / "data/h").stat().st_ino == (diff / "etc/passwd").stat().st_ino
    assert metadata(diff / "etc/passwd") == (0o600, 7, 0)
    assert metadata(diff / "etc") == (0o2770, 1, 2)


@pytest.mark.parametrize(
    "entries",
    [
        [entry("etc/passwd", LINK, linkname="etc/passwd")],
        [entry("data", LINK, linkname="data/old")],
        [entry(".wh.etc"), entry("x", LINK, linkname="etc/passwd")],
        [entry("etc/.wh.passwd"), entry("x", LINK, linkname="etc/passwd")],
        [entry("etc/.wh..wh..opq"), entry("x", LINK, linkname="etc/passwd")],
        [entry("x", LINK, linkname="etc")],
        [entry("etc/passwd/x")],
    ],
)
def test_refused(entries: List[Made], stack: Stack) -> None:
    with pytest.raises(LayerError):
        stack.add(entries)


def test_a_link_below_gives_way_to_a_directory(stack: Stack) -> None:
    """As with Docker's overlay2, which unpacks chrooted into the diff; v1 would follow it."""
    diff = stack.add([entry("link/x")])
    assert (diff / "link").is_dir()
    assert stack.names("link") == ["x"]


def test_a_mounted_layer_follows_links_below(stack: Stack, tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir(0o700)
    stack.fill(upper, [entry("link/x"), entry("link/.wh.hosts")], mounted=True)
    assert os.listdir(upper) == ["etc"]
    assert metadata(upper) == (0o700, 0, 0)
    with stack.mounted(upper) as at:
        assert sorted(os.listdir(at / "etc")) == ["passwd", "sub", "x"]


def test_a_mounted_layer_may_have_entries(stack: Stack, tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    stack.fill(upper, [entry("a", data=b"a"), entry(".wh.data")], mounted=True)
    again = [entry("b", LINK, linkname="a", mode=0o600), entry("data/new"), entry("c/.wh.x")]
    stack.fill(upper, again, mounted=True)
    assert metadata(upper / "a")[0] == 0o600
    with stack.mounted(upper) as at:
        assert os.listdir(at / "data") == ["new"]
        assert os.listdir(at / "c") == []


def test_a_diff_is_not_filled_twice(stack: Stack) -> None:
    with pytest.raises(Refused):
        stack.fill(stack.layers[0], [entry("x")])


def test_what_was_missing_below_stays_missing_above_several_layers(stack: Stack) -> None:
    stack.add([entry(".wh.data"), entry("etc/", DIR, mode=0o700)])
    diff = stack.add([entry("data/", DIR), entry("data/x"), entry("etc/y")])
    assert OPAQUE not in os.listxattr(diff / "data")
    assert metadata(diff / "etc")[0] == 0o700
    assert stack.names("data") == ["x"]
