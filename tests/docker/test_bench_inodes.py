"""The benchmark of counting: it has a figure for everything, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

import pytest

from ovl1.inodes.attribute import report
from ovl1.linux import mounts
from ovl1.store.store import Store
from tests.support.sources import ROOT
from tools.bench.bigstore import Shape, make_store

pytestmark = [pytest.mark.needs("root", "loop", "mkfs.ext4"), pytest.mark.timeout(300)]

Table = Dict[str, Dict[str, float]]

PROGRAMS = {
    "du --inodes -s",
    "find",
    "find | sort -u | wc -l",
    *(["ncdu"] if shutil.which("ncdu") else []),
    "ovl1",
}


def bench(tmp_path: Path, *options: str) -> str:
    command = [sys.executable, str(ROOT / "tools/bench_inodes"), "--quick", *options]
    command += ["--directory", str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert os.listdir(tmp_path) == []
    return done.stdout


def test_every_table_has_its_figures(tmp_path: Path) -> None:
    tables: Dict[str, Table] = json.loads(bench(tmp_path, "--json"))
    sizes = "500 names", "1,000 names", "growth to 1,000 names"
    assert set(tables) == {
        f"{size}, {what}" for size in sizes for what in ("warm", "cold", "memory")
    }
    for title, table in tables.items():
        alone = set() if title.endswith("memory") else {"ovl1, one core"}
        assert set(table) == PROGRAMS | alone
        for name, figures in table.items():
            # Of what was over too soon no memory is known.
            if name.startswith("ovl1") or not title.endswith("memory"):
                assert min(figures.values()) > 0
    for caches in ("warm", "cold"):
        assert tables[f"500 names, {caches}"]["du --inodes -s"]["times as fast as du"] == 1


def test_a_table_is_printed(tmp_path: Path) -> None:
    text = bench(tmp_path, "--programs", "find", "ovl1", "--caches", "warm", "--no-memory")
    head, *rows = text.strip().splitlines()
    assert head.split()[:4] == ["500", "names,", "warm", "seconds"]
    assert any(row.startswith("find ") for row in rows)
    assert "cold" not in text


def shape() -> Shape:
    return Shape(layers=12, files=300, links_every=10, changed_every=50)


def test_the_store_is_what_was_asked_for(tmp_path: Path) -> None:
    make_store(tmp_path / "docker", shape())
    store = Store.open(tmp_path / "docker")
    assert store.errors == []
    assert sorted(store.references.tags) == ["big:10", "big:12"]
    found = report(store, overlay2=False)
    assert len(found.layers) == 12
    assert sum(use.tree.names for use in found.layers) == shape().names
    links = 300 // 10
    assert [use.tree.symlinks for use in found.layers] == [links] * 12
    assert found.layers[0].tree.files == 300 - links
    changed = [use.tree.files for use in found.layers[1:]]
    assert (min(changed), max(changed)) == (0, 300 // 50)
    assert found.total < shape().inodes


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tools.bench.bigstore.register_layer", failing)
    with pytest.raises(OSError, match="No space"):
        make_store(tmp_path / "docker", shape())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_file_system_goes_with_the_tool(tmp_path: Path, number: int) -> None:
    command: List[str] = [
        sys.executable,
        str(ROOT / "tools/make_big_store"),
        str(tmp_path),
        "--loop",
    ]
    with subprocess.Popen(
        [*command, "--layers", "3", "--files", "200"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*/docker/overlay")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(tmp_path.glob("*/docker/overlay"))
        process.send_signal(number)
        process.communicate()
    assert process.returncode != 0
    assert os.listdir(tmp_path) == []
    assert not mounts.mounted_below(tmp_path)
