"""The file that keeps daemons away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovl1.linux import durable
from ovl1.store import barrier


def test_there_and_gone_again(tmp_path: Path) -> None:
    place = tmp_path / "overlay"
    assert not barrier.is_barrier(place)
    for _ in range(2):
        barrier.put(place)
        assert barrier.is_barrier(place)
    with pytest.raises(NotADirectoryError):
        (place / "l").mkdir()
    for _ in range(2):
        barrier.remove(place)
        assert os.listdir(tmp_path) == []


def test_what_a_kill_leaves_goes_with_it(tmp_path: Path) -> None:
    durable.temporary(tmp_path / "overlay").write_text("ovl1: a ch")
    barrier.remove(tmp_path / "overlay")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_nothing_else_is_replaced_or_removed(tmp_path: Path, kind: str) -> None:
    place, other = tmp_path / "overlay", tmp_path / "other"
    barrier.put(other)
    if kind == "directory":
        place.mkdir()
    elif kind == "file":
        place.write_text("something")
    else:
        place.symlink_to(other)
    before = place.lstat()
    assert not barrier.is_barrier(place)
    with pytest.raises(FileExistsError):
        barrier.put(place)
    barrier.remove(place)
    assert place.lstat() == before
