"""``ovl1 demo`` from end to end: its claims hold, and however it ends, nothing is left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ovl1.cli.demo import story
from ovl1.cli.main import INTERRUPTED, run
from ovl1.linux import mounts
from tests.support.sources import ROOT

needs_all = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")
COMMAND = [sys.executable, "-m", "ovl1"]
STEPS = 9


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its things, in this process and in others."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def mounted_below(directory: Path) -> List[bytes]:
    inside = os.fsencode(directory.resolve()) + b"/"
    return [point.path for point in mounts.mount_points() if point.path.startswith(inside)]


def assert_nothing_left(scratch: Path) -> None:
    assert mounted_below(scratch) == []
    assert list(scratch.iterdir()) == []


@needs_all
def test_the_whole_story(scratch: Path) -> None:
    done = subprocess.run([*COMMAND, "demo"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^(\d+)\. ", done.stdout, re.MULTILINE) == [
        str(number) for number in range(1, STEPS + 1)
    ]
    for what in (
        "those that df -i shows",
        "inodes as predicted",
        "got back are what the prediction said",
    ):
        equality = re.search(rf"ok: .*{what}: (\d+) == (\d+)$", done.stdout, re.MULTILINE)
        assert equality is not None, done.stdout
        assert equality.group(1) == equality.group(2) != "0"
    assert done.stdout.count("layers whose tar hashes to its DiffID: 5 == 5") == 3
    assert re.search(r"All \d+ claims held", done.stdout)
    assert_nothing_left(scratch)


@needs_all
@pytest.mark.parametrize(
    ("step", "number"),
    [
        (2, signal.SIGINT),
        (3, signal.SIGTERM),
        (6, signal.SIGHUP),
        (1, signal.SIGINT),
        (STEPS, signal.SIGINT),
    ],
)
def test_interrupted(scratch: Path, step: int, number: signal.Signals, full: bool) -> None:
    if step in (1, STEPS) and not full:
        pytest.skip("the first step and the last one in the full form")
    with subprocess.Popen(
        [*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{step}. "):
                break
        process.send_signal(number)
        process.send_signal(number)
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, complaint
    assert "claims held" not in said
    assert complaint.strip() == "ovl1: interrupted"
    assert_nothing_left(scratch)


@needs_all
def test_a_claim_that_does_not_hold(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(story, "layers_of", lambda *_: [])
    assert run(["demo"]) == 1
    said = capsys.readouterr()
    assert "claim does not hold: layers whose tar hashes to its DiffID: 0 != 5" in said.err
    assert "6. " not in said.out
    assert_nothing_left(scratch)


@needs_all
def test_kept_with_figures_for_programs(scratch: Path) -> None:
    command = [*COMMAND, "demo", "--keep", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: Dict[str, Any] = json.loads(done.stdout)
    inodes = figures["inodes"]
    assert inodes["overlay2"] == inodes["predicted_overlay2"] < inodes["overlay"]
    assert inodes["used_before"] - figures["inodes_empty"] == inodes["overlay"]
    assert inodes["used_after"] - figures["inodes_empty"] == inodes["overlay2"]
    assert len(figures["layers"]) == 5
    assert all(claim["holds"] for claim in figures["claims"])
    assert f"{STEPS}. " in done.stderr
    kept = Path(figures["kept"])
    assert mounted_below(scratch) == [os.fsencode(kept)]
    listed = subprocess.run(
        [*COMMAND, "--data-root", str(kept / "docker"), "image", "ls"],
        check=True,
        capture_output=True,
        text=True,
    )
    mounts.umount(kept)
    kept.rmdir()
    assert "demo" in listed.stdout
    assert f"umount {kept} && rmdir {kept}" in done.stderr
    assert_nothing_left(scratch)


@pytest.mark.needs("root", "overlay", "loop", "mkfs.xfs")
def test_on_xfs(scratch: Path) -> None:
    subprocess.run([*COMMAND, "-q", "demo", "--kind=xfs"], check=True, capture_output=True)
    assert_nothing_left(scratch)


def test_not_root(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(["demo"]) == 5
    assert "sudo ovl1 demo" in capsys.readouterr().err
    assert_nothing_left(scratch)
