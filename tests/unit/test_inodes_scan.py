"""Scanning trees: what is counted, once, whoever counts it, and what is noticed on the way."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Optional

import pytest

from ovl1.inodes.found import Found
from ovl1.inodes.scan import Scanner, present
from ovl1.inodes.tally import Counts, Tally, total
from ovl1.linux.beneath import Directory


def scanned(top: Path, scanner: Optional[Scanner] = None, depth: int = 0) -> Found:
    found = Found()
    with Directory.open(top) as directory:
        (scanner or Scanner()).scan(directory, found, depth=depth)
    return found


def counted(found: Found) -> Counts:
    return total(Tally().add(found))


def test_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "f").touch()
    os.link(tmp_path / "a" / "f", tmp_path / "a" / "b" / "again")
    (tmp_path / "l").symlink_to("nowhere")
    os.mkfifo(tmp_path / "p")
    counts = counted(scanned(tmp_path))
    assert counts == Counts(directories=3, files=1, symlinks=1, specials=1, shared=1)
    assert (counts.inodes, counts.names, counts.names_per_inode) == (6, 4, 4 / 3)
    assert Counts(directories=1).names_per_inode is None


def test_a_segment_for_each_directory_down_to_a_depth(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "f").touch()
    for depth, expected in (
        (0, {b"": 5}),
        (1, {b"": 1, b"a": 4}),
        (2, {b"": 1, b"a": 1, b"a/b": 3}),
    ):
        found = Tally().add(scanned(tmp_path, depth=depth))
        assert {path: Counts(*row).inodes for path, row in found.items()} == expected


def test_names_of_one_file_are_counted_where_it_came_from(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "f").touch()
    (tmp_path / "a" / "alone").touch()
    for name in ("a/g", "b/f", "c/f", "c/g"):
        os.link(tmp_path / "a" / "f", tmp_path / name)
    found = scanned(tmp_path)
    assert found.again == {(tmp_path / "a" / "f").stat().st_ino: 4}


def test_a_tree_deeper_than_descriptors_are_kept(tmp_path: Path) -> None:
    here = tmp_path / "top"
    here.mkdir()
    fd = os.open(here, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("sub", dir_fd=fd)
        os.mkdir("beside", dir_fd=fd)
        below = os.open("sub", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    found = scanned(here)
    assert counted(found) == Counts(directories=601)
    assert not found.moving
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_deep_tree_that_is_moved_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way back up another directory has the same path: it is not taken for the old one."""
    top = tmp_path / "top"
    (top / "z" / "/".join(["d"] * 150)).mkdir(parents=True)
    for name in ("1", "2"):
        (top / "z" / "d" / name).mkdir()
    bottom = (top / "z" / "/".join(["d"] * 150)).stat().st_ino
    real = os.fstat

    def swapping(fd: int) -> os.stat_result:
        status = real(fd)
        if status.st_ino == bottom and not (tmp_path / "aside").exists():
            (top / "z").rename(tmp_path / "aside")
            (top / "z" / "d" / "1" / "deeper").mkdir(parents=True)
        return status

    scanner = Scanner()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", swapping)
        found = scanned(top, scanner)
    assert found.moving
    assert counted(found).directories <= 155


@pytest.mark.parametrize("change", ["touch", "rename", "unlink", "mkdir", "link"])
def test_what_changes_afterwards_is_noticed(tmp_path: Path, change: str) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "f").touch()
    other.mkdir()
    scanner = Scanner()
    assert not scanned(top, scanner).moving
    below = top / "a" / "b"
    if change == "touch":
        (below / "new").touch()
    elif change == "rename":
        below.rename(other / "b")
    elif change == "unlink":
        (below / "f").unlink()
    elif change == "mkdir":
        (below / "new").mkdir()
    else:
        os.link(below / "f", below / "new")
    assert scanned(top, scanner).moving
    assert not scanned(top, Scanner()).moving


def test_the_present_parts_before_and_after(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / str(number)
        path.touch()
        before = path.stat().st_ctime_ns
        between = present()
        path.chmod(0o600)
        assert before < between <= path.stat().st_ctime_ns


def test_what_vanishes_meanwhile_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sub-directory goes between being listed and being opened."""
    for name in ("a", "b"):
        (tmp_path / "top" / name / "below").mkdir(parents=True)
    real = os.open

    def removing(path: object, *arguments: int, **named: int) -> int:
        if path in (b"a", b"b") and (tmp_path / "top" / "a").exists():
            shutil.rmtree(tmp_path / "top" / "a")
        return real(path, *arguments, **named)  # type: ignore[arg-type]

    scanner = Scanner()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", removing)
        found = scanned(tmp_path / "top", scanner)
    assert found.moving
    assert counted(found) == Counts(directories=3)


def test_memory_for_likeness_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees larger than what may be remembered are counted all the same."""
    tops = [tmp_path / name for name in "xyz"]
    for top in tops:
        for number in range(30):
            (top / str(number) / "sub").mkdir(parents=True)
            (top / str(number) / "f").touch()
    monkeypatch.setattr(sys.modules["ovl1.inodes.scan"], "_REMEMBERED", 5000)
    scanner = Scanner()
    for top in tops:
        found = Found()
        with Directory.open(top) as directory:
            scanner.scan(directory, found, like=b"root")
        assert counted(found) == Counts(directories=61, files=30)
