"""Docker's quirks when it applies a layer, each reproduced, or put right, and nothing in between.

The docstrings say what Docker 20.10 does where that is something else.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import List, Sequence

import pytest

from ovl1.errors import LayerError
from ovl1.layer.apply import Applied, apply_to_root
from ovl1.linux.beneath import Directory
from tests.support.layers import Made, entry, make_tar
from tests.support.manifest import differences, manifest

pytestmark = pytest.mark.needs("root")

DIR, LINK, SYMLINK = b"5", b"1", b"2"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


class Chain:
    """A base layer and one on it."""

    def __init__(self, base: Path, entries: Sequence[Made]) -> None:
        self.parent, self.child = base / "parent", base / "child"
        self.parent.mkdir()
        self.child.mkdir()
        self._apply(self.parent, entries)

    def add(self, entries: Sequence[Made]) -> Applied:
        before = manifest(self.parent)
        try:
            with Directory.open(self.parent) as parent:
                return self._apply(self.child, entries, parent)
        finally:
            # Links are what sharing is made of.
            after = manifest(self.parent)
            same = {key: entry._replace(nlink=before[key].nlink) for key, entry in after.items()}
            assert differences(before, same) == []

    @staticmethod
    def _apply(target: Path, entries: Sequence[Made], parent: Directory | None = None) -> Applied:
        with Directory.open(target) as directory:
            return apply_to_root(make_tar(entries), parent, directory)

    def names(self, path: str = ".") -> List[str]:
        return sorted(os.listdir(self.child / path))


BASE = [
    entry("d/", DIR, mode=0o750, uid=3),
    entry("d/f", data=b"f"),
    entry("d/g", LINK, linkname="d/f"),
    entry("d/sub/x", data=b"x"),
]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path, BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": 0o600},
        {"uid": 5},
        {"mtime": 7},
        {"pax_headers": {"SCHILY.xattr.trusted.x": "y"}},
        {"pax_headers": {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}},
    ],
)
def test_b11_a_hard_link_with_other_metadata_is_a_copy(
    chain: Chain, change: dict[str, object]
) -> None:
    """Docker changes the parent layer, and every layer related to it."""
    chain.add([entry("h", LINK, linkname="d/f", **change)])
    inodes = {name: (chain.child / name).stat().st_ino for name in ("h", "d/f", "d/g")}
    assert inodes["h"] == inodes["d/f"] != inodes["d/g"]
    assert inodes["d/g"] == (chain.parent / "d/g").stat().st_ino


def test_b47_a_directory_named_as_a_whiteout(chain: Chain) -> None:
    """Docker makes it, and deletes something when the image is loaded the next time."""
    with pytest.raises(LayerError, match="a whiteout for a directory"):
        chain.add([entry("d/.wh.x/y")])


def test_b50_a_whiteout_takes_what_its_own_layer_brought(chain: Chain) -> None:
    chain.add([entry("new/x"), entry(".wh.new"), entry(".wh.d"), entry("d/y")])
    assert chain.names() == ["d"]
    assert chain.names("d") == ["y"]


def test_b51_an_opaque_marker_spares_what_was_unpacked(chain: Chain) -> None:
    entries = [
        entry("d/sub/", DIR),
        entry("d/mine"),
        entry("d/implied/y"),
        entry("d/h", LINK, linkname="d/f"),
        entry("d/i", LINK, linkname="d/f", mode=0o600),
        entry("d/.wh..wh..opq"),
        entry("d/late"),
    ]
    chain.add(entries)
    assert chain.names("d") == ["h", "i", "late", "mine", "sub"]
    assert chain.names("d/sub") == []


def test_b52_an_opaque_marker_implies_its_directory(chain: Chain) -> None:
    chain.add([entry("no/such/.wh..wh..opq")])
    assert chain.names("no/such") == []


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/sub/.wh..."])
def test_b53_a_whiteout_of_a_directory_above(chain: Chain, name: str) -> None:
    """Docker deletes the directory that the marker is in, or the one above that."""
    with pytest.raises(LayerError, match="whiteout of nothing"):
        chain.add([entry(name)])


def test_b54_aufs_names_below_the_top_are_whiteouts(chain: Chain) -> None:
    chain.add([entry(".wh..wh.d"), entry("d/.wh..wh.f"), entry("d/.wh.f")])
    assert chain.names("d") == ["g", "sub"]


def test_b55_aufs_hard_links_are_copies_and_leave_nothing(chain: Chain) -> None:
    """Docker leaves an empty directory ``.wh..wh.plnk``."""
    kept = entry(".wh..wh.plnk/1.2", data=b"kept", uid=5)
    links = [entry(name, LINK, linkname=".wh..wh.plnk/1.2", uid=9) for name in ("a", "b")]
    chain.add([kept, *links])
    found = [(chain.child / name).stat() for name in ("a", "b")]
    assert [(at.st_uid, at.st_nlink, at.st_size) for at in found] == [(5, 1, 4)] * 2
    assert chain.names() == ["a", "b", "d"]


def test_b55_an_aufs_hard_link_to_nothing(chain: Chain) -> None:
    with pytest.raises(LayerError, match="AUFS has not left"):
        chain.add([entry("a", LINK, linkname=".wh..wh.plnk/9.9")])


def test_b56_implied_directories_are_open_to_all(chain: Chain) -> None:
    """Docker makes them 0600; one that is there keeps its mode."""
    old = os.umask(0o077)
    try:
        chain.add([entry("new/x"), entry("d/y")])
    finally:
        os.umask(old)
    assert stat.S_IMODE((chain.child / "new").stat().st_mode) == 0o755
    status = (chain.child / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o750, 3)


def test_b57_the_root_has_an_entry_too(chain: Chain) -> None:
    chain.add([entry("./", DIR, mode=0o711, uid=4, mtime=9), entry("x")])
    status = chain.child.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o711, 4, 9)


def test_b58_directory_times_come_last(chain: Chain) -> None:
    chain.add([entry("d/", DIR, mtime=5), entry("d/y"), entry("e/", DIR, mtime=6), entry(".wh.e")])
    status = (chain.child / "d").stat()
    assert (status.st_mtime, status.st_atime) == (5, 0)


def test_times_of_many_directories(tmp_path: Path) -> None:
    names = [f"{number:0200}" for number in range(9000)]
    with Directory.open(tmp_path) as target:
        apply_to_root(make_tar([entry(name, DIR, mtime=7) for name in names]), None, target)
    assert {entry.stat().st_mtime for entry in os.scandir(tmp_path)} == {7.0}
    assert sorted(os.listdir(tmp_path)) == names


def test_metadata_are_set_in_the_order_that_keeps_them(tmp_path: Path) -> None:
    attributes = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
    item = entry("f", uid=5, gid=6, mode=0o6755, mtime=8, data=b"x", pax_headers=attributes)
    with Directory.open(tmp_path) as target:
        apply_to_root(make_tar([item]), None, target)
    status = (tmp_path / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o6755, 5, 8)
    assert os.getxattr(tmp_path / "f", "security.capability") == CAPABILITY


def test_the_warnings_are_not_endless(tmp_path: Path) -> None:
    attributes = {f"SCHILY.xattr.nowhere.x{number}": "y" for number in range(300)}
    with Directory.open(tmp_path) as target:
        applied = apply_to_root(make_tar([entry("f", pax_headers=attributes)]), None, target)
    assert len(applied.warnings) == 100


def test_how_the_parent_was_brought_in_is_told(chain: Chain) -> None:
    assert chain.add([entry("x")]).cloned.linked == 3
