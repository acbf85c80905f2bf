"""Bytes of a tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovl1.linux.beneath import Directory
from ovl1.tree.size import tree_size


def size(path: Path) -> int:
    with Directory.open(path) as root:
        return tree_size(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_an_empty_tree(root: Path) -> None:
    assert size(root) == 0


def test_each_inode_counts_once_and_directories_do_not(root: Path) -> None:
    for name in ("a", "b/c/d", "b/e"):
        (root / name).mkdir(parents=True)
    (root / "a/f").write_bytes(bytes(1000))
    os.link(root / "a/f", root / "b/c/d/f")
    (root / "b/c/g").write_bytes(bytes(30))
    os.mkfifo(root / "b/e/pipe")
    assert size(root) == 1030
    (root / "b/e/link").symlink_to("seven77")
    assert size(root) == 1037
    os.truncate(root / "b/c/g", 1 << 30)
    assert size(root) == 1007 + (1 << 30)


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_bytes(bytes(100))
    (root / "l").symlink_to("../out")
    assert size(root) == len("../out")


def test_names_beside_each_other_at_every_depth(root: Path) -> None:
    expected = 0
    for depth in range(1, 5):
        for first in "ab":
            place = root.joinpath(*[first] * depth, "x", "y")
            place.mkdir(parents=True)
            (place / "file").write_bytes(bytes(10**depth))
            expected += 10**depth
    assert size(root) == expected
