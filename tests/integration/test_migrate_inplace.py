"""Layers converted where they are, on real file systems: they show the same, and come back.

Also when it is killed, when a system call fails, and when the power does, right before any system
call; and on a disk that has hardly an inode left.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovl1.linux.loopback import loop_file_system
from ovl1.model import LayerId
from tests.support.faults import Group, Point, count, failing_at, killed_at, supervised
from tests.support.faults_calls import can_give
from tests.support.faults_tally import Tally, spread, tally
from tests.support.inplace import InPlace, there_and_back
from tests.support.inplace_stores import Chain, varied_store
from tests.support.layers import entry
from tests.support.power import Disk, disk
from tests.support.store_builder import StoreBuilder
from tests.support.trees import Change, changes
from tests.support.used import used

__all__ = ["tally"]

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs", "seccomp-notify")

KINDS = ("ext4", "xfs")
WAYS = ("forward", "back")


@pytest.fixture(scope="module", params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    scratch = tmp_path_factory.mktemp("place")
    with loop_file_system(request.param, scratch, 400 << 20) as mounted:
        yield mounted


@pytest.fixture(scope="module", params=KINDS)
def varied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Varied]:
    with disk(request.param, tmp_path_factory.mktemp("varied")) as made:
        yield Varied(made)


class Varied:
    """A store with everything on a disk of its own, and what it must be in the end."""

    def __init__(self, on: Disk) -> None:
        self.disk = on
        self.store = varied_store(on.data_root)
        self.digests: Dict[LayerId, str] = {}
        scratch = on.mount_point / "built"
        scratch.mkdir()
        self.built = self.store.built(scratch)
        self._start, self._is_worn = on.keep("start"), False

    def begin(self) -> None:
        """Before anything is converted; copies of files have other inodes after each time."""
        if self._is_worn:
            self.disk.put_back(self._start)
        self._is_worn = True
        self.digests = self.store.digests()

    def forward(self) -> int:
        self.store.forward(self.digests)
        return 0

    def back(self) -> int:
        self.store.back()
        return 0

    def is_converted(self) -> None:
        assert self.store.shown() == self.digests == self.store.recorded()
        assert self.store.diffs() == self.built

    def is_as_before(self) -> None:
        assert self.store.differences() == []
        self._is_worn = False

    def ends_well(self, *, forward: bool) -> None:
        """Whichever way it goes on, and the other way after that."""
        if forward:
            self.forward()
            self.is_converted()
        self.back()
        self.store.forget()
        self.is_as_before()


class History(NamedTuple):
    """How a store came about."""

    layers: List[List[Change]]
    init: List[Change]
    container: List[Change]
    steps: List[List[Change]]
    keep_directory_times: bool


histories = st.builds(
    History,
    st.lists(changes, min_size=2, max_size=4),
    changes,
    changes,
    st.lists(changes, max_size=2),
    st.booleans(),
)


def test_a_store_shows_the_same_and_comes_back(place: Path, full: bool) -> None:
    @given(histories)
    @settings(max_examples=300 if full else 4)
    def law(history: History) -> None:
        with tempfile.TemporaryDirectory(dir=place) as name:
            chain = Chain(StoreBuilder(Path(name) / "docker"))
            for number, todo in enumerate(history.layers):
                chain.add(todo, chain.top if number else None)
            chain.container(history.init, history.container)
            for todo in history.steps:
                chain.add_step(todo)
            store = chain.open(keep_directory_times=history.keep_directory_times)
            there_and_back(store, Path(name) / "built")

    law()


def test_a_store_with_everything(varied: Varied) -> None:
    varied.begin()
    varied.ends_well(forward=True)


@pytest.mark.parametrize("way", WAYS)
def test_killed(varied: Varied, way: str, full: bool, tally: Tally) -> None:
    action: Callable[[], int] = getattr(varied, way)
    kind = f"in place, {varied.disk.kind}, {way}, killed"

    def attempt(number: int) -> None:
        varied.begin()
        if way == "back":
            varied.forward()
        killed_at(number, action, varied.disk.mount_point)
        varied.ends_well(forward=number % 2 == 0)

    points = points_of(varied, way)
    tally.try_all(kind, len(points), numbers(points, 8, full=full), attempt)


# On the way back no inode gets more names than it had.
@pytest.mark.parametrize(
    ("way", "number"),
    [(way, number) for way in WAYS for number in (errno.ENOSPC, errno.EIO)]
    + [("forward", errno.EMLINK)],
    ids=str,
)
def test_a_call_fails(varied: Varied, way: str, number: int, full: bool, tally: Tally) -> None:
    action: Callable[[], int] = getattr(varied, way)
    kind = f"in place, {varied.disk.kind}, {way}, {errno.errorcode[number]}"

    def attempt(at: int) -> None:
        varied.begin()
        if way == "back":
            varied.forward()
        failing_at(at, number, action, varied.disk.mount_point)
        varied.ends_well(forward=at % 2 == 0)

    points = [point for point in points_of(varied, way) if can_give(point.call, number)]
    tally.try_all(kind, len(points), numbers(points, 2, full=full), attempt)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("commits", [False, True])
def test_the_power_fails(varied: Varied, way: str, commits: bool, full: bool, tally: Tally) -> None:
    """Whether or not the log reached the disk right before."""
    action: Callable[[], int] = getattr(varied, way)
    kind = f"in place, {varied.disk.kind}, {way}, power lost {'after a commit' * commits}"

    def attempt(number: int) -> None:
        varied.begin()
        if way == "back":
            varied.forward()

        def fails(point: Point, group: Group) -> int:
            if commits and point.number == number - 1:
                varied.disk.commit()
            if point.number == number:
                varied.disk.lose_power()
                group.kill()
            return 0

        supervised(action, varied.disk.mount_point, fails)
        varied.disk.restart()
        varied.ends_well(forward=number % 2 == 0)

    points = points_of(varied, way)
    tally.try_all(kind, len(points), numbers(points, 2, full=full), attempt)


def points_of(varied: Varied, way: str) -> List[Point]:
    """All of one way, which leaves the store as it was."""
    varied.begin()
    if way == "back":
        varied.forward()
    done = count(getattr(varied, way), varied.disk.mount_point)
    assert done.ended.code == 0, done.ended
    varied.back()
    varied.store.forget()
    varied.is_as_before()
    return done.points


def numbers(points: List[Point], quick: int, *, full: bool) -> List[int]:
    found = [point.number for point in points]
    return found if full else [found[index - 1] for index in spread(len(found), quick)]


LAYERS = 20


def test_on_a_disk_without_inodes(tmp_path: Path) -> None:
    """Each layer takes less than a handful before it gives back its directories."""
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=4096) as mounted:
        builder = StoreBuilder(mounted / "docker")
        parent = None
        for number in range(LAYERS):
            folders = [entry(f"d{number}", tarfile.DIRTYPE)]
            folders += [entry(f"d{number}/{name}", tarfile.DIRTYPE) for name in "abcd"]
            files = [entry(f"d{number}/a/{name}", data=b"x") for name in "ab"]
            gone = [entry(f"d{number - 1}/.wh.b")] if number else []
            parent = builder.real_layer([*folders, *files, *gone], parent)
        store = InPlace(builder.open())
        digests = store.digests()
        fill(mounted / "filler", leave=150)
        before = used(mounted)
        highest = before

        def measure(point: Point, group: Group) -> int:
            nonlocal highest
            highest = max(highest, used(mounted))
            return 0

        def action(way: Callable[[], None]) -> int:
            way()
            return 0

        done = supervised(
            functools.partial(action, lambda: store.forward(digests)), mounted, measure
        )
        assert done.ended.code == 0, done.ended
        tell(f"{LAYERS} layers", highest - before, used(mounted) - before)
        assert highest - before < 12
        assert store.shown() == digests
        highest = 0
        done = supervised(functools.partial(action, store.back), mounted, measure)
        assert done.ended.code == 0, done.ended
        store.forget()
        tell("undone", highest - before, used(mounted) - before)
        assert store.differences() == []


def tell(what: str, peak: int, after: int) -> None:
    sys.stdout.write(f"{what}: at most {peak:+}, in the end {after:+} inodes\n")


def fill(directory: Path, leave: int) -> None:
    """Take all inodes of the file system but some."""
    directory.mkdir()
    for number in range(os.statvfs(directory).f_ffree - leave):
        (directory / str(number)).touch()
