"""A way down a tree that is deeper than a process may have descriptors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux.beneath import Directory
from ovl1.linux.trail import Trail

DEPTH = 350


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Directory]:
    """A chain of directories, each with an ``x`` and a file that says how deep it is."""
    with Directory.open(tmp_path) as root:
        here = root.descend(())
        for depth in range(DEPTH):
            here.mknod(b"%d" % depth, 0o100600)
            here.mkdir(b"x")
            below = here.child(b"x")
            here.close()
            here = below
        here.close()
        yield root


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_down_and_up_again_with_few_descriptors(root: Directory) -> None:
    before = open_files()
    with Trail(root) as trail:
        for depth in range(DEPTH - 1):
            here = trail.enter(depth, b"x")
            assert here.exists(b"%d" % (depth + 1))
            assert open_files() - before <= 101
        for depth in reversed(range(DEPTH)):
            assert trail.at(depth).exists(b"%d" % depth)
            assert trail.parts == [b"x"] * depth
            assert open_files() - before <= 101
        assert trail.at(0) is root
    assert open_files() == before
    assert root.exists(b"0")


def test_from_place_to_place(root: Directory) -> None:
    root.mkdir(b"y")
    with Trail(root) as trail:
        for parts in ([b"x"] * 200, [b"x"] * 3, [b"y"], [], [b"x"] * 300, [b"x"] * 100, [b"y"]):
            place = trail.to(parts)
            assert trail.parts == parts
            with root.descend(parts) as same:
                assert os.path.samestat(place.stat(), same.stat())


def test_what_is_missing_leaves_it_where_it_was(root: Directory) -> None:
    with Trail(root) as trail:
        trail.to([b"x", b"x"])
        with pytest.raises(FileNotFoundError):
            trail.enter(2, b"missing")
        with pytest.raises(NotADirectoryError):
            trail.enter(2, b"2")
        assert trail.parts == [b"x", b"x"]
        assert trail.at(2).exists(b"2")
