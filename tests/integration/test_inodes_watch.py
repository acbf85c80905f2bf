"""The watch on file systems that really fill: what it says, and when and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.linux.mounts import mounted
from ovl1.model import Mount
from tests.support.sources import ROOT
from tests.support.store_builder import small_store

pytestmark = pytest.mark.needs("root", "loop", "mkfs.ext4", "mkfs.xfs")

FILL = """
import os, sys, time
for number in range(int(sys.argv[2])):
    os.mknod(f"{sys.argv[1]}/{number}")
    time.sleep(float(sys.argv[3]))
"""
WRITE = """
import os, sys, time
with open(sys.argv[1], "wb", 0) as file:
    for _ in range(10):
        file.write(os.urandom(2 << 20))
        os.fsync(file.fileno())
        time.sleep(0.05)
"""


@pytest.fixture
def kind() -> str:
    """Of the file system; some tests want others, too."""
    return "ext4"


@pytest.fixture
def disk(kind: str, tmp_path: Path) -> Iterator[Path]:
    with loop_file_system(kind, tmp_path, (320 if kind == "xfs" else 64) << 20) as found:
        small_store(found / "docker")
        (found / "filled").mkdir()
        yield found


def watch(disk: Path, *arguments: str) -> List[str]:
    data_root = ("--data-root", str(disk / "docker"))
    return [sys.executable, "-m", "ovl1", *data_root, "inodes", "watch", *arguments]


def run(command: List[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def lines(out: str) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def system(line: Dict[str, Any], number: int = 0) -> Dict[str, Any]:
    found: Dict[str, Any] = line["file_systems"][number]
    return found


def used(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_files - status.f_ffree


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_it_counts_what_a_command_makes(disk: Path) -> None:
    before = used(disk)
    fill = [sys.executable, "-c", FILL, str(disk / "filled"), "100", "0.005"]
    done = run(watch(disk, "--interval", "0.1", "--json", "--", *fill))
    assert done.returncode == 0, done.stderr
    *ticks, summary = lines(done.stdout)
    assert len(ticks) >= 4
    assert [tick["elapsed"] for tick in ticks] == sorted(tick["elapsed"] for tick in ticks)
    counts = [system(tick)["inodes"]["used"] for tick in ticks]
    assert counts[0] == before
    assert counts == sorted(counts)
    assert counts[-1] == before + 100 == used(disk)
    inodes = system(summary)["inodes"]
    assert inodes["change"] == 100
    assert inodes["free"] == inodes["least_free"] == inodes["total"] - inodes["used"]
    assert inodes["used_per_second"] == pytest.approx(100 / summary["elapsed"], rel=0.01)
    assert summary["exit_code"] == 0
    assert (summary["layers"], summary["containers"]) == (2, 1)
    assert (summary["new_layers"], summary["new_containers"]) == (0, 0)


def test_the_time_left_is_what_it_takes(tmp_path: Path) -> None:
    """Filled to the last inode at a steady rate: each tick's forecast is held to the end."""
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=384) as disk:
        small_store(disk / "docker")
        (disk / "filled").mkdir()
        free = os.statvfs(disk).f_ffree
        fill = [sys.executable, "-c", FILL, str(disk / "filled"), str(free), "0.005"]
        done = run(watch(disk, "--interval", "0.1", "--json", "--", *fill))
    *ticks, summary = lines(done.stdout)
    assert system(summary)["inodes"]["least_free"] == 0
    end = next(tick["elapsed"] for tick in ticks if not system(tick)["inodes"]["free"])
    told = [
        (tick["elapsed"], system(tick)["inodes"]["seconds_left"])
        for tick in ticks
        if end * 0.3 < tick["elapsed"] < end * 0.8
    ]
    assert len(told) >= 4
    for elapsed, left in told:
        assert elapsed + left == pytest.approx(end, rel=0.35)


def test_bytes_are_watched(disk: Path) -> None:
    write = [sys.executable, "-c", WRITE, str(disk / "filled/data")]
    done = run(watch(disk, "--interval", "0.1", "--json", "--", *write))
    *ticks, summary = lines(done.stdout)
    change = system(summary)["bytes"]["change"]
    assert change == pytest.approx(20 << 20, rel=0.05)
    assert any(system(tick)["bytes"]["seconds_left"] for tick in ticks)


def test_other_file_systems_of_the_data_root_are_watched(disk: Path) -> None:
    volumes = disk / "docker/volumes"
    volumes.mkdir()
    fill = [sys.executable, "-c", FILL, str(volumes), "30", "0"]
    with mounted(Mount("tmpfs", "tmpfs", ("nr_inodes=50",)), volumes):
        done = run(watch(disk, "--interval", "0.1", "--json", "--", *fill))
        told = run(watch(disk, "--interval", "0.1", "--for", "0.1"))
    *_, summary = lines(done.stdout)
    assert system(summary)["inodes"]["change"] == 0
    other = system(summary, 1)
    assert (other["path"], other["kind"]) == (str(volumes), "tmpfs")
    assert (other["inodes"]["change"], other["inodes"]["total"]) == (30, 50)
    assert told.stdout.count(f"  {volumes}\n") == 2


def test_new_layers_and_containers_are_counted(disk: Path) -> None:
    records = disk / "docker/image/overlay/layerdb"
    made = f"mkdir {records}/sha256/{'1' * 64} {records}/mounts/a {records}/mounts/b; sleep 0.2"
    done = run(watch(disk, "--interval", "0.05", "--json", "--", "sh", "-c", made))
    *_, summary = lines(done.stdout)
    assert (summary["new_layers"], summary["new_containers"]) == (1, 2)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    small_store(tmp_path / "docker")
    return tmp_path


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_passed_on(small: Path, script: str, code: int) -> None:
    done = run(watch(small, "--", "sh", "-c", f"echo out; echo err >&2; {script}"))
    assert done.returncode == code
    assert f"exit code {code}" in done.stdout
    # What the command prints does not come between the figures.
    assert "out" not in done.stdout.replace("about", "")
    assert done.stderr.splitlines() == ["out", "err"]


def test_a_command_ends_the_watch_at_once(small: Path) -> None:
    begun = time.monotonic()
    done = run(watch(small, "--interval", "60", "true"))
    assert done.returncode == 0
    assert time.monotonic() - begun < 20


def test_lines_have_a_head_and_a_summary(small: Path) -> None:
    done = run(watch(small, "--interval", "0.1", "--for", "0.2"))
    assert done.returncode == 0
    head, first, *_ = done.stdout.splitlines()
    assert head.split("  ")[0] == "TIME"
    assert first.startswith("0.0s ")
    assert "IN ALL" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("layers 2 (+0), containers 1 (+0)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(small: Path, number: signal.Signals) -> None:
    with begun(watch(small, "--interval", "0.05", "--json")) as process:
        await_lines(process, 2)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert lines(rest)[-1]["event"] == "summary"


def test_ctrl_c_is_for_the_command_first(small: Path) -> None:
    """As a terminal sends it: to both. The command decides, and the watch goes on until its end."""
    script = "trap 'sleep 0.5; exit 5' INT; while :; do sleep 0.05; done"
    command = watch(small, "--interval", "0.05", "--json", "--", "sh", "-c", script)
    with begun(command) as process:
        await_lines(process, 4)
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 5
    *ticks, summary = lines(rest)
    assert len(ticks) >= 5
    assert summary["exit_code"] == 5


def test_the_command_ends_with_the_watch(small: Path) -> None:
    command = watch(small, "--interval", "0.05", "--json", "--", "sleep", "60")
    with begun(command) as process:
        await_lines(process, 2)
        process.terminate()
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert lines(rest)[-1]["exit_code"] == 143


@contextlib.contextmanager
def begun(command: List[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def await_lines(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout is not None
    for _ in range(number):
        assert process.stdout.readline()


def test_a_terminal_has_a_live_view(small: Path) -> None:
    """The command's lines stay above it, and it ends with the summary."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", 0) as screen:
        process = subprocess.Popen(
            watch(small, "--interval", "0.1", "--", "sh", "-c", "echo said; sleep 0.3; exit 3"),
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )
        os.close(theirs)
        out = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed.
            while data := screen.read(4096):
                out += data
    assert process.wait(20) == 3
    text = out.decode()
    assert text.index("said\r\n") < text.index("IN ALL")
    assert text.count("FILE SYSTEM") >= 3
    assert "\x1b[1A" in text
    assert "exit code 3" in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--for", "1", "--", "true"], "exclude each other"),
        (["--", "/no/such/program"], "cannot be run"),
        (["--interval", "0"], "--interval"),
    ],
)
def test_wrong_usage(small: Path, arguments: List[str], word: str) -> None:
    done = run(watch(small, *arguments))
    assert done.returncode == 2
    assert word in done.stderr
    assert done.stdout == ""
