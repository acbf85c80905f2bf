"""One at a time, by locks that die with their holder."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import List

import pytest

from ovl1.errors import OvlError, Refused
from ovl1.linux import locks
from tests.support.child import in_child, running
from tests.support.manifest import differences, manifest

HELD = "held"


def take(directory: Path) -> int:
    """0, or the exit code of the refusal."""
    try:
        with locks.exclusive(directory):
            return 0
    except OvlError as err:
        return err.exit_code


def hold(directory: Path, told: Path) -> int:
    with locks.exclusive(directory):
        told.touch()
        time.sleep(60)
    return 0


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def test_another_process_is_refused_while_it_is_held(tmp_path: Path) -> None:
    assert in_child(lambda: take(tmp_path)).code == 0
    with locks.exclusive(tmp_path):
        assert in_child(lambda: take(tmp_path)).code == Refused.exit_code
    assert in_child(lambda: take(tmp_path)).code == 0


def test_so_is_another_thread_of_work_in_this_process(tmp_path: Path) -> None:
    with locks.exclusive(tmp_path), pytest.raises(Refused, match="another ovl1") as caught:
        take_or_raise(tmp_path)
    assert str(tmp_path) in caught.value.brief
    assert caught.value.resolution


def take_or_raise(directory: Path) -> None:
    with locks.exclusive(directory):
        pass


def test_it_dies_with_its_holder(tmp_path: Path) -> None:
    store, told = tmp_path / "store", tmp_path / HELD
    store.mkdir()
    with running(lambda: hold(store, told)) as child:
        wait_for(told)
        assert take(store) == Refused.exit_code
        child.signal(signal.SIGKILL)
        assert child.wait().code == -signal.SIGKILL
        assert take(store) == 0


def test_an_error_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locks.exclusive(tmp_path):
        raise KeyError
    assert take(tmp_path) == 0


def test_other_directories_are_free(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with locks.exclusive(tmp_path / "one"):
        assert in_child(lambda: take(tmp_path / "two")).code == 0
        assert in_child(lambda: take(tmp_path)).code == 0


def test_it_leaves_no_trace(tmp_path: Path) -> None:
    before, open_files = manifest(tmp_path), len(os.listdir("/proc/self/fd"))
    with locks.exclusive(tmp_path):
        assert differences(before, manifest(tmp_path)) == []
        take(tmp_path)
    assert differences(before, manifest(tmp_path)) == []
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        take(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "nothing")


def add_one(lock: Path, number: Path, times: int, *, remove: bool) -> int:
    """Count in a file, in a way that needs the lock; maybe with a new lock file each time."""
    for _ in range(times):
        with locks.held(lock):
            value = int(number.read_text())
            time.sleep(0.0005)
            number.write_text(str(value + 1))
            if remove:
                lock.unlink()
    return 0


@pytest.mark.parametrize("remove", [False, True], ids=["kept", "removed"])
def test_a_lock_file_keeps_others_out(tmp_path: Path, remove: bool) -> None:
    """Processes and threads alike, also when whoever holds the file removes it."""
    lock, number = tmp_path / "lock", tmp_path / "number"
    number.write_text("0")

    def work() -> int:
        return add_one(lock, number, 50, remove=remove)

    with running(work) as one, running(work) as two:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for child in (one, two):
            assert child.wait().code == 0, child.wait().err
    assert number.read_text() == "200"
    assert lock.exists() != remove


def test_a_lock_file_holds_a_record(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for expected in (b"", b"written"):
        with locks.held(lock) as fd:
            assert os.pread(fd, 100, 0) == expected
            os.pwrite(fd, b"written", 0)
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_lock_file_is_free_while_a_child_has_it_open(tmp_path: Path) -> None:
    """Forked while it was held, without exec, as the workers of a pool are."""
    lock = tmp_path / "lock"
    with contextlib.ExitStack() as children:
        with locks.held(lock):
            children.enter_context(running(sleep))
        assert is_free(lock)


def sleep() -> int:
    time.sleep(60)
    return 0


def is_free(lock: Path) -> bool:
    taken: List[bool] = []

    def take_it() -> None:
        with locks.held(lock):
            taken.append(True)

    thread = threading.Thread(target=take_it, daemon=True)
    thread.start()
    thread.join(5)
    return bool(taken)


def test_a_lock_file_dies_with_its_holder(tmp_path: Path) -> None:
    lock, told = tmp_path / "lock", tmp_path / HELD

    def hold_it() -> int:
        with locks.held(lock):
            told.touch()
            time.sleep(60)
        return 0

    with running(hold_it) as child:
        wait_for(told)
        child.signal(signal.SIGKILL)
        child.wait()
        assert is_free(lock)


def test_an_error_frees_a_lock_file(tmp_path: Path) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), locks.held(tmp_path / "lock"):
        raise KeyError
    assert is_free(tmp_path / "lock")
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_lock_file_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), locks.held(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
