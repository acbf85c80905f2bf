"""The driver's benchmark: it has a figure for everything, and what does not hang on speed holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

from tests.support.sources import ROOT

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]

Table = Dict[str, Dict[str, float]]

TIMES = "seconds", "cpu"
TWO_CORES = {"ovl1, two cores", "ovl1, two cores, with Python's start"}
OVL1 = {"ovl1, one core", "ovl1, one core, with Python's start"}
LAYER_ROWS = {
    "docker load",
    "tar -x",
    "ovl1",
    "ovl1, with Python's start",
    "ovl1, with digest and tar-split",
    "ovl1, with digest and tar-split, with Python's start",
}


def bench(tmp_path: Path, *options: str) -> str:
    command = [sys.executable, str(ROOT / "tools/bench_driver"), "--quick", *options]
    command += ["--directory", str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert os.listdir(tmp_path) == []
    return done.stdout


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Table]:
    found: Dict[str, Table] = json.loads(bench(tmp_path_factory.mktemp("bench"), "--json"))
    return found


def test_every_section_has_its_figures(tables: Dict[str, Table]) -> None:
    cores = TWO_CORES if len(os.sched_getaffinity(0)) > 1 else set()
    rsync = {"rsync --link-dest"} if shutil.which("rsync") else set()
    assert set(tables) == {"clone", "removal", "memory", "apply", "diff", "inodes"}
    assert set(tables["clone"]) == {"C loop", "cp -al", *rsync, *OVL1, *cores}
    assert set(tables["removal"]) == {"rm -rf", *OVL1, *cores}
    for name, others in (("clone", ("cp -al", "C loop")), ("removal", ("rm -rf",))):
        for figures in tables[name].values():
            ratios = {f"{what}{other}" for other in others for what in ("of ", "CPU of ")}
            assert set(figures) == {*TIMES, *ratios}
            assert min(figures.values()) > 0
    assert set(tables["apply"]) == {
        *(f"{layer}: {row}" for layer in ("base", "second") for row in LAYER_ROWS),
        "the layer",
    }


def test_memory_hardly_grows_with_the_tree(tables: Dict[str, Table]) -> None:
    peaks = {row: figures["MiB"] for row, figures in tables["memory"].items()}
    for work in ("apply", "clone", "remove"):
        for workers in ("",) if work == "apply" else (", 1 worker", ", 2 workers"):
            few, many = (peaks[f"{work}, {n} entries{workers}"] for n in ("50", "5,000"))
            assert many < few + 10


def test_the_same_changes_are_found(tables: Dict[str, Table]) -> None:
    for size in ("100", "1,000"):
        rows = ("docker diff", "ovl1", "ovl1, as Docker")
        docker, exact, same = (tables["diff"][f"{size} files: {row}"]["changes"] for row in rows)
        assert docker == same
        assert docker == exact


def test_it_takes_fewer_inodes(tables: Dict[str, Table]) -> None:
    inodes = {row: figures["inodes"] for row, figures in tables["inodes"].items()}
    assert 0 < inodes["ovl1"] < inodes["docker load"]


def test_a_table_is_printed(tmp_path: Path) -> None:
    text = bench(tmp_path, "--only", "clone")
    head, *rows = text.strip().splitlines()
    assert head.split()[:3] == ["clone", "seconds", "cpu"]
    assert "CPU of C loop" in head
    assert any(row.startswith("cp -al ") for row in rows)
    assert "removal " in text
    assert "diff" not in text
