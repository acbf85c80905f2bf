"""The supervisor of system calls: what it sees, what it can do, that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import signal
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from ovl1.linux import forked, locks
from ovl1.linux.workers import in_parallel, processors
from tests.support.faults import (
    Group,
    Point,
    alone,
    count,
    failing_at,
    killed_at,
    signalled_at,
    supervised,
)
from tests.support.faults_calls import calls, can_give
from tests.support.faults_tally import spread

needs_notify = pytest.mark.needs("root", "seccomp-notify")

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def made(place: Path, names: str, then: Callable[[], object] = int) -> Callable[[], int]:
    """An action of one call for each name, and then something else."""

    def action() -> int:
        for name in names:
            os.mkdir(place / name)
        then()
        return 0

    return action


def there(place: Path) -> str:
    return "".join(sorted(os.listdir(place)))


def shown(points: List[Point]) -> List[str]:
    assert [point.number for point in points] == list(range(1, len(points) + 1))
    return [f"{point.call} {point.path}" for point in points]


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"there is no {HEADERS[machine]} (linux-libc-dev)")
    pattern = re.compile(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", re.MULTILINE)
    real: Dict[str, int] = {
        name: int(number) for name, number in pattern.findall(HEADERS[machine].read_text())
    }
    ours = {call.name: number for number, call in calls(machine).items()}
    assert len(ours) > 40
    assert {name: number for name, number in ours.items() if number != real.get(name, number)} == {}
    # What is younger than the header.
    newest = max(number for name, number in real.items() if name != "syscalls")
    assert all(ours[name] > newest for name in ours.keys() - real.keys())


def test_errors_and_the_calls_that_give_them() -> None:
    assert can_give("linkat", errno.EMLINK)
    assert not can_give("rename", errno.EMLINK)
    assert can_give("rename", errno.EXDEV)
    assert not can_give("write", errno.EXDEV)
    assert can_give("fsync", errno.EIO)


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [(3, 5, [1, 2, 3]), (9, 3, [1, 5, 9]), (10, 2, [1, 10]), (9, 1, [5]), (0, 4, [])],
)
def test_spread(total: int, wanted: int, expected: List[int]) -> None:
    assert spread(total, wanted) == expected


@needs_notify
def test_what_is_a_point(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")

    def action() -> int:
        os.chdir(tmp_path)
        os.mkdir("dir")
        directory = os.open("dir", os.O_RDONLY)
        fd = os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
        os.write(fd, b"data")
        os.fchmod(fd, 0o644)
        os.fsync(fd)
        os.setxattr(f"/proc/self/fd/{directory}/file", "user.x", b"y")
        os.utime(fd)
        os.link("file", tmp_path / "link", src_dir_fd=directory)
        os.rename("link", "dir/again")
        os.symlink("/no/where", "symlink")
        os.truncate("old", 1)
        os.unlink("symlink")
        return 0

    done = count(action, tmp_path)
    assert done.ended.code == 0, done.ended
    assert done.hit is None
    assert shown(done.points) == [
        "mkdir dir",
        "openat dir/file",
        "write dir/file",
        "fchmod dir/file",
        "fsync dir/file",
        "setxattr dir/file",
        "utimensat dir/file",
        "linkat dir/file -> link",
        "rename link -> dir/again",
        "symlink symlink",
        "truncate old",
        "unlink symlink",
    ]


@needs_notify
def test_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")

    def action() -> int:
        assert (tmp_path / "file").read_bytes() == b"data"
        os.listdir(tmp_path)
        _, writing = os.pipe()
        os.write(writing, b"x")
        with open(os.devnull, "wb") as null:
            null.write(b"x")
        fd = os.memfd_create("elsewhere")
        os.write(fd, b"x")
        os.ftruncate(fd, 0)
        os.write(1, b"said")
        return 7

    (tmp_path / "place").mkdir()
    done = count(action, Path("/proc"))
    assert (done.ended.code, done.ended.out, done.points) == (7, "said", [])
    # Here only the pytest's own scratch, on the same file system, takes what is said.
    assert {point.call for point in count(action, tmp_path).points} <= {"write"}


@needs_notify
@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_right_before_a_call(tmp_path: Path, number: int) -> None:
    done = killed_at(number, made(tmp_path, "abc"), tmp_path)
    assert done.ended.code == -signal.SIGKILL
    assert done.hit == Point(number, "mkdir", "abc"[number - 1])
    assert there(tmp_path) == "abc"[: number - 1]


@needs_notify
def test_a_number_that_never_comes(tmp_path: Path) -> None:
    done = killed_at(4, made(tmp_path, "abc"), tmp_path)
    assert (done.ended.code, done.hit, there(tmp_path)) == (0, None, "abc")


@needs_notify
def test_workers_are_killed_too(tmp_path: Path) -> None:
    """Also one that would live on, and has its parent's lock."""

    def linger() -> None:
        time.sleep(60)

    def action() -> int:
        with locks.exclusive(tmp_path):
            forked.fork(linger)
            os.mkdir(tmp_path / "a")
        return 0

    begun = time.monotonic()
    assert killed_at(1, action, tmp_path).ended.code == -signal.SIGKILL
    with locks.exclusive(tmp_path):
        assert there(tmp_path) == ""
    assert time.monotonic() - begun < 30


@needs_notify
def test_the_calls_of_workers_count(tmp_path: Path) -> None:
    def work(name: str) -> int:
        os.mkdir(tmp_path / name)
        return os.getpid()

    def action() -> int:
        return len(set(in_parallel(work, "abcd", workers=2)))

    done = count(action, tmp_path)
    assert done.ended.code in (1, 2)
    assert sorted(shown(done.points)) == [f"mkdir {name}" for name in "abcd"]


def retried(path: Path) -> int:
    """Make a directory in two attempts; how many have failed."""
    for failed in range(2):
        with contextlib.suppress(OSError):
            os.mkdir(path)
            return failed
    return 2


@needs_notify
@pytest.mark.parametrize(("lasting", "expected"), [(False, (1, "ab")), (True, (2, "a"))])
def test_an_error(tmp_path: Path, lasting: bool, expected: Tuple[int, str]) -> None:
    def action() -> int:
        os.mkdir(tmp_path / "a")
        return retried(tmp_path / "b")

    done = failing_at(2, errno.ENOSPC, action, tmp_path, lasting=lasting)
    assert done.hit == Point(2, "mkdir", "b")
    assert (done.ended.code, there(tmp_path)) == expected


@needs_notify
def test_an_error_waits_for_a_call_that_can_give_it(tmp_path: Path) -> None:
    def action() -> int:
        os.mkdir(tmp_path / "a")
        os.rename(tmp_path / "a", tmp_path / "b")
        return 0

    done = failing_at(1, errno.EXDEV, action, tmp_path)
    assert done.hit == Point(2, "rename", "a -> b")
    assert "Invalid cross-device link" in done.ended.err
    assert there(tmp_path) == "a"


@needs_notify
def test_a_signal(tmp_path: Path) -> None:
    done = signalled_at(2, signal.SIGINT, made(tmp_path, "abc"), tmp_path)
    assert "KeyboardInterrupt" in done.ended.err
    assert done.hit == Point(2, "mkdir", "b")
    assert there(tmp_path) == "ab", "the call itself is done"


@needs_notify
def test_alone(tmp_path: Path) -> None:
    done = count(alone(processors), tmp_path)
    assert done.ended.code == 1


@needs_notify
def test_who_does_not_end_is_ended(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    action = made(tmp_path, "a", lambda: time.sleep(60))
    with pytest.raises(TimeoutError, match="mkdir"):
        supervised(action, tmp_path, lambda point, group: 0, limit=0.5)
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@needs_notify
def test_a_mistake_in_a_test_leaves_nothing(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    def mistaken(point: Point, group: Group) -> int:
        raise KeyError(point.path)

    with pytest.raises(KeyError):
        supervised(made(tmp_path, "a"), tmp_path, mistaken)
    assert there(tmp_path) == ""
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@needs_notify
def test_an_action_that_raises(tmp_path: Path) -> None:
    def action() -> int:
        raise ValueError(platform.system())

    done = count(action, tmp_path)
    assert done.ended.code != 0
    assert "ValueError: Linux" in done.ended.err
