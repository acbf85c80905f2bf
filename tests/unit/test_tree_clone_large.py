"""Clones of deep, broad and large trees, and what becomes of the processes that make them."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from ovl1.linux.beneath import DIR, Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.linux.trail import Trail
from ovl1.tree import clone as module
from ovl1.tree.clone import Cloned, clone
from tests.support.child import running
from tests.support.clones import cloned, entries, make_names, scratch
from tests.support.trees import shown

pytestmark = [pytest.mark.needs("root", "loop", "mkfs.ext4")]

DEEP = 5000


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("clone")
    with loop_file_system("ext4", base, 1 << 30, inodes=100_000) as mounted:
        yield mounted


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tree_of_many_levels(ext4: Path, workers: int) -> None:
    place = scratch(ext4)
    with Directory.open(place / "source") as source, Directory.open(place / "target") as target:
        with Trail(source) as trail:
            for depth in range(DEEP):
                here = trail.at(depth)
                here.mknod(b"f%d" % depth, stat.S_IFREG | 0o600)
                if depth % 10 == 0:
                    here.mkdir(b"b")
                here.mkdir(b"a")
                os.utime(here.fd, ns=(depth, depth))
                trail.enter(depth, b"a")
        open_files = len(os.listdir("/proc/self/fd"))
        assert clone(source, target, workers=workers) == Cloned(linked=DEEP)
        assert len(os.listdir("/proc/self/fd")) == open_files
        with Trail(source) as theirs, Trail(target) as mine:
            for depth in range(DEEP):
                there, here = theirs.at(depth), mine.at(depth)
                assert here.stat().st_mtime_ns == depth
                assert kinds(here) == kinds(there)
                theirs.enter(depth, b"a")
                mine.enter(depth, b"a")


def kinds(directory: Directory) -> Dict[bytes, object]:
    """Names, with their inodes but for directories."""
    return {name: kind if kind == DIR else inode for name, inode, kind in directory.names()}


def test_many_names_in_one_directory(ext4: Path, full: bool) -> None:
    place = scratch(ext4)
    number = 200_000 if full else 20_000
    make_names(place / "source", number)
    assert cloned(place, None) == Cloned(linked=number)
    with Directory.open(place / "source") as source, Directory.open(place / "target") as target:
        assert kinds(target) == kinds(source)


def test_large_trees_are_shared_out_unasked(ext4: Path) -> None:
    place = scratch(ext4)
    for number in range(12):
        (place / "source" / str(number) / "below").mkdir(parents=True)
        make_names(place / "source" / str(number), 500)
        make_names(place / "source" / str(number) / "below", 500)
    assert cloned(place, None) == Cloned(linked=12000)
    assert shown(place / "target") == shown(place / "source")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """With 500 inodes."""
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=500) as mounted:
        yield mounted


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_workers_error_is_the_callers(
    small_disk: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WORTH_FORKING", 0)
    place = scratch(small_disk)
    for number in range(300):
        (place / "source" / str(number % 20) / str(number)).mkdir(parents=True)
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No space left"):
        cloned(place, workers)
    assert len(os.listdir("/proc/self/fd")) == open_files
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def children(pid: int) -> List[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{pid}\n" in (directory / "status").read_text():
                found.append(int(directory.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nobody_is_left_when_it_is_interrupted(ext4: Path, number: signal.Signals) -> None:
    place = scratch(ext4)
    for directory in range(60):
        (place / "source" / str(directory)).mkdir()
        make_names(place / "source" / str(directory), 1000)

    def action() -> int:
        try:
            cloned(place, 2)
        except KeyboardInterrupt:
            return 130
        return 0

    with running(action) as child:
        deadline = time.monotonic() + 20
        while len(children(child.pid)) < 2:
            assert time.monotonic() < deadline
        workers = children(child.pid)
        # A terminal sends it to all of them.
        for pid in (child.pid, *workers) if number == signal.SIGINT else (child.pid,):
            os.kill(pid, number)
        assert child.wait().code in (130, -signal.SIGKILL)
    while any(Path("/proc", str(pid)).exists() for pid in workers):
        assert time.monotonic() < deadline
    assert entries(place / "source") == 60000
