"""Who uses a store: real processes and mounts, in this mount namespace and in others."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, Sequence

import pytest

from ovl1.linux import mounts
from ovl1.linux.procs import User, users_of
from ovl1.model import Mount
from tests.support.capabilities import find_program

# Says when it is ready, and ends when its standard input does: with us, whatever happens.
READY = "print(flush=True); sys.stdin.read()"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    (store / "overlay" / "layer").mkdir(parents=True)
    (store / "overlay" / "file").write_text("x")
    (tmp_path / "store-beside").mkdir()
    (tmp_path / "store-beside" / "file").write_text("x")
    return store


@contextlib.contextmanager
def process(*command: str, cwd: str = "/") -> Iterator[int]:
    """A process that has said that it is ready."""
    with subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout
            assert running.stdout.readline() == b"\n"
            yield running.pid
        finally:
            running.kill()


def python(code: str, *arguments: str) -> List[str]:
    return [sys.executable, "-c", f"import sys; {code}; {READY}", *arguments]


def of(pid: int, store: Path) -> List[User]:
    return [user for user in users_of(store) if user.pid == pid]


def test_nobody(store: Path) -> None:
    assert users_of(store) == []


def test_this_process_is_left_out(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store)
    with (store / "overlay" / "file").open():
        assert users_of(store) == []


@pytest.mark.parametrize("below", ["", "overlay/layer"])
def test_a_working_directory(store: Path, below: str) -> None:
    with process(*python("pass"), cwd=str(store / below)) as pid:
        (user,) = of(pid, store)
        assert user.what == f"works in {store / below}".rstrip("/")
        assert "python" in user.command


def test_an_open_file(store: Path) -> None:
    file = store / "overlay" / "file"
    with process(*python("file = open(sys.argv[1])", str(file))) as pid:
        assert [user.what for user in of(pid, store)] == [f"has {file} open"]


@pytest.mark.needs("root")
def test_a_root_directory(store: Path) -> None:
    code = "import os; os.chroot(sys.argv[1])"
    with process(*python(code, str(store / "overlay"))) as pid:
        assert [user.what for user in of(pid, store)] == [f"has its root in {store / 'overlay'}"]


def test_a_program_that_lies_there(store: Path) -> None:
    program = store / "overlay" / "program"
    shutil.copy(shutil.which("dash") or "/bin/sh", program)
    with process(str(program), "-c", "echo; read line") as pid:
        assert [user.what for user in of(pid, store)] == [f"runs {program}"]


def test_through_a_link(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store)
    file = tmp_path / "link" / "overlay" / "file"
    with process(*python("file = open(sys.argv[1])", str(file))) as pid:
        assert len(of(pid, tmp_path / "link")) == 1
        assert len(of(pid, store)) == 1


def test_not_what_only_begins_alike(store: Path, tmp_path: Path) -> None:
    beside = tmp_path / "store-beside"
    code = python("file = open(sys.argv[1])", str(beside / "file"))
    with process(*code, cwd=str(beside)), process(*python("pass"), cwd=str(tmp_path)):
        assert users_of(store) == []


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that is called dockerd, and waits."""
    program = tmp_path_factory.mktemp("bin") / "dockerd"
    shell = shutil.which("dash") or "/bin/sh"
    shutil.copy(shell, program)
    return program


@contextlib.contextmanager
def running_daemon(program: Path, options: Sequence[str]) -> Iterator[int]:
    with process(str(program), "-c", "echo; read line", "sh", *options) as pid:
        yield pid


@pytest.mark.parametrize(
    "options",
    [
        ["--data-root", "{}"],
        ["--data-root={}"],
        ["-g", "{}"],
        ["-g={}"],
        ["--graph", "{}"],
        ["--graph={}/"],
        ["--debug", "--data-root={}/../store", "--iptables=false"],
        ["--data-root=/elsewhere", "--data-root={}"],
    ],
    ids=" ".join,
)
def test_a_daemon(store: Path, daemon: Path, options: List[str]) -> None:
    with running_daemon(daemon, [option.format(store) for option in options]) as pid:
        (user,) = of(pid, store)
    assert user == User(pid, "dockerd", "is a daemon on it")


@pytest.mark.parametrize(
    "options",
    [[], ["--data-root={}-beside"], ["--data-root={}/overlay"], ["--host={}"], ["--data-root"]],
    ids=" ".join,
)
def test_a_daemon_of_another_store(store: Path, daemon: Path, options: List[str]) -> None:
    with running_daemon(daemon, [option.format(store) for option in options]):
        assert users_of(store) == []


def test_a_daemon_without_options_has_the_default_root(daemon: Path) -> None:
    with running_daemon(daemon, []) as pid:
        assert len(of(pid, Path("/var/lib/docker"))) == 1


@pytest.mark.needs("root")
@pytest.mark.parametrize("name", ["layer", "a,b c", "a:b\\c"])
def test_a_mount_below(store: Path, name: str) -> None:
    target = store / "overlay" / name
    target.mkdir(exist_ok=True)
    with mounts.mounted(Mount("tmpfs", "tmpfs"), target):
        (user,) = users_of(store)
    assert user.pid == os.getpid()
    assert user.what == f"has {target} mounted (tmpfs)"
    assert users_of(store) == []


@pytest.mark.needs("root")
def test_a_store_may_be_a_mount_point_itself(store: Path) -> None:
    with mounts.mounted(Mount("tmpfs", "tmpfs"), store):
        assert users_of(store) == []


def overlay_at(store: Path, tmp_path: Path) -> List[Path]:
    """Lower, upper, work and mount point: only the first is in the store."""
    made = [store / "overlay" / "layer", *(tmp_path / name for name in ("upper", "work", "at"))]
    for path in made:
        path.mkdir(exist_ok=True)
    return made


@pytest.mark.needs("root", "overlay")
@pytest.mark.parametrize("place", ["store", "st,ore", "st:ore", "st\\ore", "st ore", 'st"ore'])
def test_a_layer_mounted_elsewhere(tmp_path: Path, place: str) -> None:
    store = tmp_path / place
    (store / "overlay").mkdir(parents=True)
    lower, upper, work, at = overlay_at(store, tmp_path)
    with mounts.mounted(mounts.overlay([lower], upper, work), at):
        assert [user.what for user in users_of(store)] == [f"has {at} mounted (overlay)"]


@pytest.mark.needs("root", "overlay")
def test_not_a_layer_of_what_is_called_alike(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup" / store.relative_to("/")
    (copy / "overlay" / "layer").mkdir(parents=True)
    lower, upper, work, at = overlay_at(copy, tmp_path)
    with mounts.mounted(mounts.overlay([lower], upper, work), at):
        assert users_of(store) == []
        assert len(users_of(copy)) == 1


@pytest.mark.needs("root", "overlay")
def test_a_layer_mounted_in_another_namespace(store: Path, tmp_path: Path) -> None:
    lower, upper, work, at = overlay_at(store, tmp_path)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    script = f"mount -t overlay -o {options} overlay {at} && echo && read line"
    unshare = find_program("unshare")
    assert unshare
    with process(unshare, "-m", "sh", "-c", script) as pid:
        assert [user.what for user in users_of(store)] == [f"has {at} mounted (overlay)"]
        assert of(pid, store)
        assert not any(point.path == os.fsencode(at) for point in mounts.mount_points())
    assert users_of(store) == []


def test_who_is_going_does_no_harm(store: Path) -> None:
    """Processes that end while they are looked at."""
    deadline = time.monotonic() + 1
    with contextlib.ExitStack() as children:
        for _ in range(40):
            child = subprocess.Popen(["sleep", "0.02"])
            children.callback(child.wait)
        while time.monotonic() < deadline:
            assert users_of(store) == []
