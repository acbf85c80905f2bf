"""The figures of a benchmark as table, JSON, CSV and picture, and a daemon that will not do."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from ovl1.bench import dockerd, plot
from ovl1.bench.archive import config_of
from ovl1.bench.disk import Used
from ovl1.bench.results import Effort, Point, Result, Run
from ovl1.bench.steps import Prediction, Step
from ovl1.cli.bench.tables import COLUMNS, as_csv, show, values
from ovl1.cli.main import run
from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.images.archive import ArchivedImage, ArchivedLayer
from ovl1.model import DiffId

IDS = [DiffId("sha256:" + digit * 64) for digit in "ab"]
LAYERS = tuple(ArchivedLayer(f"{number}", diff_id) for number, diff_id in enumerate(IDS))
STEPS = [
    Step(0, f"x:{count}", ArchivedImage(config_of(IDS[:count]), (), LAYERS[:count]), count, "")
    for count in (1, 2)
]


def made(*, off: int = 0, kind: str = "ext4") -> Result:
    """Two layouts, one of them built; its last figure is `off`."""
    counted: List[Optional[int]] = [110, 120 + off] if kind != "btrfs" else [None, None]
    points = [
        Point(step, Used(inodes, 4096 * number), 100 + 10 * number, 0.5)
        for number, (step, inodes) in enumerate(zip(STEPS, counted), 1)
    ]
    left = Used(None if kind == "btrfs" else 0, 0)
    built = Run(kind, "overlay", Used(left.inodes, 0), 0, points, Effort(1, 9), Effort(2, 8), left)
    predictions = {
        "overlay": Prediction([110, 120], ""),
        "overlay2": Prediction([100, 100], ""),
        "docker-overlay2": Prediction([0, 0], "it has a link to nowhere"),
    }
    return Result(STEPS, predictions, [built])


def cell(value: Optional[object]) -> str:
    return "" if value is None else str(value)


@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_csv_and_json_agree(kind: str) -> None:
    result = made(kind=kind)
    told: List[Dict[str, Any]] = json.loads(json.dumps(values(result, [], {})))["points"]
    rows = list(csv.DictReader(io.StringIO(as_csv(result))))
    assert rows == [{key: cell(point[key]) for key in COLUMNS} for point in told]
    assert [(row["layout"], row["inodes"], row["predicted"]) for row in rows] == [
        ("overlay", "110" if kind == "ext4" else "", "110"),
        ("overlay", "120" if kind == "ext4" else "", "120"),
        ("overlay2", "", "100"),
        ("overlay2", "", "100"),
    ]


def test_differences_are_counted_wherever_they_are() -> None:
    assert made().differences == 0
    assert made(off=-3).differences == 1
    result = made()
    result.runs[0].left = Used(1, 0)
    result.runs[0].empty_predicted = 5
    assert result.differences == 2


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show(made(off=-3), [])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", "overlay", "110", "110", "0", "4.1kB", "0.50"] in lines
    assert ["2", "overlay", "117", "120", "-3", "8.19kB", "0.50"] in lines
    assert next(line for line in lines if line[:1] == ["overlay2"])[1:3] == ["100", "1.00"]
    refused = next(line for line in lines if line[:1] == ["docker-overlay2"])
    assert " ".join(refused[1:]) == "- - cannot be loaded: it has a link to nowhere"


def test_btrfs_has_no_inodes_to_count(capsys: pytest.CaptureFixture[str]) -> None:
    show(made(kind="btrfs"), [])
    said = capsys.readouterr().out
    assert "bytes only" in said
    assert ["1", "overlay", "-", "110", "-", "4.1kB", "0.50"] in map(str.split, said.splitlines())


@pytest.mark.parametrize("name", ["x.svg", "x.png"])
def test_a_picture(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.prepare(tmp_path / name)
    plot.draw(made(), "a title", tmp_path / name)
    picture = (tmp_path / name).read_bytes()
    if name.endswith("png"):
        assert picture.startswith(b"\x89PNG")
    else:
        assert b"<svg" in picture
        assert b"overlay2 (predicted)" in picture


def test_a_picture_of_predictions_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = made()
    result.runs.clear()
    plot.draw(result, "a title", tmp_path / "x.svg")
    assert (tmp_path / "x.svg").stat().st_size > 1000


def test_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(NotPossibleHere, match="matplotlib") as caught:
        plot.prepare(tmp_path / "x.svg")
    assert "ovl1[plot]" in caught.value.resolution
    with pytest.raises(WrongUsage, match=r"\.svg"):
        plot.prepare(tmp_path / "x.gif")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("Docker version 24.0.1, build 1", "dockerd 24 has no overlay driver"),
        ("Docker version 29.0.0-rc.1, build 1", "dockerd 29 has no overlay driver"),
        ("nonsense", "does not tell its version"),
    ],
)
def test_a_docker_that_will_not_do(
    said: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake(tmp_path, said)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NotPossibleHere, match=complaint):
        dockerd.find()
    if os.geteuid() == 0:
        assert run(["bench", "inodes", "--docker"]) == 5


def test_a_docker_that_will(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(tmp_path, "Docker version 20.10.24+dfsg1, build 297e128")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert dockerd.find() == (tmp_path / "dockerd", "20.10.24+dfsg1")


def _fake(directory: Path, said: str) -> None:
    program = directory / "dockerd"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(["bench", "inodes"]) == 5
    assert "needs root" in capsys.readouterr().err


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--at", "1,x"],
        ["--at", "0"],
        ["--layers", "126"],
        ["--change", "2"],
        ["--csv", "/nowhere/x.csv"],
        ["--plot", "x.gif"],
        ["some.tar", "--seed", "1"],
        ["no-such.tar"],
    ],
)
def test_wrong_usage(arguments: List[str]) -> None:
    assert run(["bench", "inodes", *arguments]) == 2
