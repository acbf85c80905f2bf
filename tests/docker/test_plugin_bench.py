"""The benchmark of the plugin: every driver does the whole workload."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.sources import ROOT

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]
pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")


def test_every_row_has_its_figures(tmp_path_factory: pytest.TempPathFactory, full: bool) -> None:
    if not full:
        pytest.skip("in the full form")
    # A daemon's sockets lie there, whose paths must be short.
    place = tmp_path_factory.mktemp("b")
    command = [sys.executable, str(ROOT / "tools/bench_plugin"), "--quick", "--json"]
    done = subprocess.run([*command, "--directory", str(place)], check=True, stdout=subprocess.PIPE)
    assert os.listdir(place) == []
    tables = json.loads(done.stdout)
    assert len(tables["of overlay"]) == 4
    for figures in tables["of overlay"].values():
        assert set(figures) >= {"load", "build", "run", "diff", "commit", "rm, rmi", "all"}
        assert min(figures.values()) > 0
