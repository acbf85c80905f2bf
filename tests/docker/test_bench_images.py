"""The benchmark of loading and saving: it has every figure, and memory stays small."""

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

MIB = 1 << 20


def test_every_row_has_its_figures(tmp_path_factory: pytest.TempPathFactory) -> None:
    # A daemon's sockets lie there, whose paths must be short.
    place = tmp_path_factory.mktemp("bench")
    command = [sys.executable, str(ROOT / "tools/bench_images"), "--quick", "--json"]
    done = subprocess.run([*command, "--directory", str(place)], check=True, stdout=subprocess.PIPE)
    assert os.listdir(place) == []
    tables = json.loads(done.stdout)
    image = tables["the image"]["all"]
    assert image["layers"] == 3
    expected = {
        *(
            f"{driver}, {form}: {who}"
            for driver in ("overlay", "overlay2")
            for form in ("plain", "gzip")
            for who in ("docker load", "ovl1")
        ),
        *(
            f"{driver}: {who}"
            for driver in ("overlay", "overlay2")
            for who in ("docker save", "ovl1 image save")
        ),
    }
    assert set(tables["images"]) == expected
    for row, figures in tables["images"].items():
        assert figures["of Docker"] > 0
        if "ovl1" in row:
            # Far less than the image: neither it nor a layer is ever held in memory.
            assert 0 < figures["MiB"] < 45 < image["MiB"]
