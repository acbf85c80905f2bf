"""``ovl1 bench`` in a process of its own, and the proof that nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

from ovl1.linux import mounts
from tests.support.sources import ROOT

COMMAND = [sys.executable, "-m", "ovl1", "bench", "inodes"]
PATIENCE = 60.0


def bench(scratch: Path, *arguments: object, code: int = 0) -> Dict[str, Any]:
    """Run it with ``--json``; everything temporary is made in `scratch`, and gone after."""
    done = subprocess.run(
        [*COMMAND, "--json", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=environment(scratch),
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert_nothing_left(scratch)
    values: Dict[str, Any] = json.loads(done.stdout or done.stderr)
    return values


def environment(scratch: Path) -> Dict[str, str]:
    """Of a process that makes its temporary things in `scratch`."""
    return {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)}


def assert_measured(values: Dict[str, Any], built: int, steps: int) -> None:
    """Every figure was measured, and is the one that was predicted."""
    assert values["differences"] == 0
    assert len(values["runs"]) == built
    measured = [point for point in values["points"] if point["file_system"]]
    assert len(measured) == built * steps
    assert {point["difference"] for point in measured} == {0}
    assert all(point["inodes"] == point["predicted"] > 0 < point["bytes"] for point in measured)
    for run in values["runs"]:
        assert run["left"]["inodes"] == run["left"]["predicted"]
        for what in ("creation", "removal"):
            assert run[what]["seconds"] > 0
            assert run[what]["peak_bytes"] > 10 << 20


def stopped(scratch: Path, number: signal.Signals, word: str, *arguments: object) -> int:
    """Send it a signal, twice, as soon as `word` is in what runs or is mounted; its exit code."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(scratch),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + PATIENCE
        while not any(word in text for text in _busy(scratch)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        process.send_signal(number)
        said, complaint = process.communicate(timeout=PATIENCE)
    assert said == ""
    assert complaint.strip() == "ovl1: interrupted"
    assert_nothing_left(scratch)
    return process.returncode


def assert_nothing_left(scratch: Path) -> None:
    """No mount, no file and no process that was started there."""
    assert list(scratch.iterdir()) == []
    assert [text for text in _busy(scratch) if str(scratch) in text] == []


def _busy(scratch: Path) -> List[str]:
    found = [str(path) for path in mounts.mounted_below(scratch.resolve())]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if str(scratch) in command:
            found.append(command)
    return found
