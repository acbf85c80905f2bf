"""One writer at a time, by a lock that dies with its holder and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

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
