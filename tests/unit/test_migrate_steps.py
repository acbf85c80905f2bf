"""Steps of a migration, each from every state that a kill in it can leave."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Callable, List

import pytest

from ovl1.errors import HalfDone
from ovl1.linux import libc
from ovl1.migrate.steps import Move, Swap
from ovl1.store import barrier

State = Callable[[Path, Path], None]


def home(place: Path) -> None:
    place.mkdir()
    (place / "layer").touch()


def at_first(source: Path, target: Path) -> None:
    home(source)
    barrier.put(target)


def no_barrier(source: Path, target: Path) -> None:
    home(source)


def moved(source: Path, target: Path) -> None:
    home(target)


def done(source: Path, target: Path) -> None:
    home(target)
    barrier.put(source)


STATES: List[State] = [at_first, no_barrier, moved, done]


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "old kernel"])
@pytest.mark.parametrize("state", STATES)
def test_swapped_and_back_from_every_state(
    tmp_path: Path, state: State, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(first: str, second: str) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), first)

    if not exchanges:
        monkeypatch.setattr(libc, "exchange", refused)
    source, target = tmp_path / "overlay", tmp_path / "old"
    state(source, target)
    swap = Swap(source, target)
    for _ in range(2):
        swap.do()
        assert barrier.is_barrier(source)
        assert os.listdir(target) == ["layer"]
    for _ in range(2):
        swap.undo()
        assert barrier.is_barrier(target)
        assert os.listdir(source) == ["layer"]
    assert sorted(os.listdir(tmp_path)) == ["old", "overlay"]


@pytest.mark.parametrize("state", STATES)
def test_undone_from_every_state(tmp_path: Path, state: State) -> None:
    source, target = tmp_path / "overlay", tmp_path / "old"
    state(source, target)
    Swap(source, target).undo()
    assert barrier.is_barrier(target)
    assert os.listdir(source) == ["layer"]


@pytest.mark.parametrize("swap", [Swap, Move])
def test_two_directories_are_too_many(tmp_path: Path, swap: type[Swap] | type[Move]) -> None:
    source, target = tmp_path / "overlay", tmp_path / "old"
    home(source)
    home(target)
    for change in (swap(source, target).do, swap(source, target).undo):
        with pytest.raises(HalfDone, match="both exist"):
            change()
        assert os.listdir(source) == os.listdir(target) == ["layer"]
