"""Names that lead over symbolic links, as in a chroot; what lies around the tree stays as it is.

Compared with dockerd 20.10.24, ``docker load`` into ``overlay``: the same names land in the same
places.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Sequence

import pytest

from ovl1.errors import LayerError
from ovl1.layer.apply import apply_to_diff, apply_to_root
from ovl1.linux.beneath import Directory
from ovl1.tree.remove import remove_tree
from tests.support.layers import Made, entry, make_tar
from tests.support.manifest import differences, manifest

pytestmark = pytest.mark.needs("root")

DIR, LINK, SYMLINK = b"5", b"1", b"2"


def link(name: str, target: str) -> Made:
    return entry(name, SYMLINK, linkname=target)


BASE = [
    entry("etc/", DIR),
    entry("etc/passwd", data=b"root"),
    entry("usr/lib/x", data=b"x"),
    link("l", "etc"),
    link("abs", "/etc"),
    link("up", "../../../../etc"),
    link("usr/out", "../../.."),
    link("chain", "abs"),
    link("deep", "usr/lib/../../etc/."),
    *(link(f"many{number}", f"many{number + 1}") for number in range(40)),
    link("many40", "etc"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree to unpack to, with canaries beside and above it."""
    target = tmp_path / "a/b/target"
    target.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "a", tmp_path / "a/b"):
        (place / "etc").mkdir()
        (place / "etc/passwd").write_bytes(b"canary")
        os.chmod(place / "etc/passwd", 0o640)
    return target


def apply(tree: Path, entries: Sequence[Made]) -> None:
    with Directory.open(tree) as target:
        apply_to_root(make_tar([*BASE, *entries]), None, target)


LANDS: Dict[str, List[Made]] = {
    "etc/new": [entry("l/new")],
    "etc/new2": [entry("abs/new2")],
    "etc/new3": [entry("up/new3")],
    "new4": [entry("usr/out/new4")],
    "etc/new5": [entry("chain/new5")],
    "etc/new6": [entry("deep/new6")],
    "etc/sub/new7": [entry("l/sub/new7")],
    "etc/new8": [entry("many1/new8")],
    "etc/hard": [entry("chain/hard", LINK, linkname="up/passwd")],
    "etc/passwd2": [entry("etc/passwd2", LINK, linkname="../../etc/passwd")],
    "etc/d": [entry("usr/out/l/d/", DIR)],
    "l2": [link("l2", "/"), entry("l2/l2/x"), entry("l2/l2", DIR)],
}


@pytest.mark.parametrize("where", LANDS)
def test_where_names_lead(where: str, tree: Path) -> None:
    around = tree.parent.parent.parent
    before = manifest(around)
    apply(tree, LANDS[where])
    assert (tree / where).exists()
    if where == "etc/hard":
        assert (tree / where).stat().st_ino == (tree / "etc/passwd").stat().st_ino
    after = manifest(around)
    assert differences(before, {key: after[key] for key in before}) == [
        difference
        for difference in differences(before, {key: after[key] for key in before})
        if difference.startswith("a/b/target: ")
    ]


def test_whiteouts_and_opaque_markers_over_links(tree: Path) -> None:
    apply(tree, [entry("up/.wh.passwd"), entry("usr/out/usr/lib/.wh..wh..opq")])
    assert os.listdir(tree / "etc") == []
    # The file was unpacked by this very tar.
    assert os.listdir(tree / "usr/lib") == ["x"]


def test_an_opaque_link_has_nothing_below(tree: Path) -> None:
    apply(tree, [entry("l/.wh..wh..opq")])
    assert os.readlink(tree / "l") == "etc"
    assert os.listdir(tree / "etc") == ["passwd"]


BAD = {
    "a loop": [link("x", "y"), link("y", "x"), entry("x/f")],
    "itself": [link("x", "x"), entry("x/f")],
    "41 links": [entry("many0/f")],
    "nothing": [link("x", "nowhere"), entry("x/f")],
    "nothing, and back": [link("x", "nowhere/../etc"), entry("x/f")],
    "a file": [link("x", "etc/passwd"), entry("x/f")],
    "a file, and back": [link("x", "etc/passwd/../../etc"), entry("x/f")],
    "hard link over nothing": [link("x", "nowhere"), entry("f", LINK, linkname="x/f")],
}


@pytest.mark.parametrize("what", BAD)
def test_links_that_lead_nowhere(what: str, tree: Path) -> None:
    before = manifest(tree.parent / "etc")
    with pytest.raises(LayerError, match=r"symbolic link|no directory|not there"):
        apply(tree, BAD[what])
    assert differences(before, manifest(tree.parent / "etc")) == []


def test_a_path_of_the_greatest_length(tmp_path: Path) -> None:
    name = "/".join(["a"] * 2047) + "bc"
    tar = make_tar([entry(name, data=b"far"), entry("a/a/x"), entry("/".join("a" * 1500) + "/y")])
    with Directory.open(tmp_path) as target:
        apply_to_root(tar, None, target)
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2046):
        below = os.open("a", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    assert os.listdir(fd) == ["abc"]
    os.close(fd)
    # Too deep for those who clean up after tests.
    with Directory.open(tmp_path) as target:
        remove_tree(target, b"a")


@pytest.mark.parametrize("kind", ["root", "diff"])
def test_absolute_targets_are_kept_as_they_are(kind: str, tmp_path: Path) -> None:
    tar = make_tar([link("x", "/../../etc/passwd"), entry("x", data=b"mine")])
    with Directory.open(tmp_path) as target:
        apply_to_root(tar, None, target) if kind == "root" else apply_to_diff(tar, None, target)
    assert not (tmp_path / "x").is_symlink()
    assert (tmp_path / "x").read_bytes() == b"mine"
