"""The gauges, as Prometheus' own parser reads them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ovl1.cli.inodes.values import values
from ovl1.cli.main import cli
from ovl1.driver.cost import Cost
from ovl1.formats.readable import escaped
from ovl1.inodes.attribute import report
from ovl1.inodes.prometheus import GAUGES, exposition
from ovl1.inodes.report import Report
from tests.support.sources import ROOT
from tests.support.store_builder import small_store

Labels = Tuple[Tuple[str, str], ...]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """With every figure that there can be."""
    store = small_store(tmp_path_factory.mktemp("docker")).open()
    found = report(store, with_bytes=True, workers=1)
    return dataclasses.replace(found, overlay2=Cost())


def read(text: str) -> Dict[str, Metric]:
    families: List[Metric] = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def series(text: str, name: str) -> Dict[Labels, float]:
    """The values by their labels, without those that all series have."""
    found = {}
    for sample in read(text)[name].samples:
        assert sample.name == name
        labels = {k: v for k, v in sample.labels.items() if k not in ("data_root", "driver")}
        found[tuple(sorted(labels.items()))] = sample.value
    return found


def test_each_gauge_is_told_once_with_its_help_and_type(made: Report) -> None:
    families = read(exposition(made))
    assert set(families) == set(GAUGES)
    for name, family in families.items():
        assert family.type == "gauge"
        assert family.documentation == GAUGES[name].help
        labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(labels)) == len(labels)
        assert all(sample.timestamp is None for sample in family.samples)


def test_names_are_what_prometheus_asks_for() -> None:
    """https://prometheus.io/docs/practices/naming/: base units, and no suffix of another type."""
    for name in GAUGES:
        assert re.fullmatch(r"ovl1(_[a-z0-9]+)+", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))


def test_the_figures_are_those_of_the_report(made: Report) -> None:
    text, told = exposition(made), values(made)
    assert series(text, "ovl1_data_root_inodes") == {(): made.total}
    assert series(text, "ovl1_data_root_overlay2_inodes") == {(): made.total_as_overlay2}
    layers = {(("kind", use.kind), ("layer", use.name)): use.inodes for use in made.layers}
    assert series(text, "ovl1_layer_inodes") == layers
    own = {(("image", i["id"]), ("name", " ".join(i["names"]))): i["own"] for i in told["images"]}
    assert series(text, "ovl1_image_own_inodes") == own
    (free,) = series(text, "ovl1_file_system_free_inodes").values()
    assert free == told["file_system"]["free"]
    by_directory = series(text, "ovl1_directory_inodes")
    assert sum(by_directory.values()) == made.total
    by_kind = series(text, "ovl1_kind_inodes")
    assert sum(by_kind.values()) == sum(use.inodes for use in made.layers)


def test_what_is_not_known_is_left_out(made: Report) -> None:
    systems = tuple(dataclasses.replace(each, files=0) for each in made.file_systems)
    less = dataclasses.replace(made, with_bytes=False, overlay2=None, file_systems=systems)
    missing = set(GAUGES) - set(read(exposition(less)))
    assert missing == {
        "ovl1_data_root_bytes",
        "ovl1_data_root_overlay2_inodes",
        "ovl1_kind_bytes",
        *(name for name in GAUGES if "_file_system_" in name),
    }


@given(name=st.text() | st.text('\\"\n\r\x00\u202e\udcff{}=,# '))
def test_any_name_is_one_label(made: Report, name: str) -> None:
    image = dataclasses.replace(made.images[0], names=(name,))
    text = exposition(dataclasses.replace(made, images=(image,)))
    assert text.encode()
    told = series(text, "ovl1_image_inodes")
    assert told == {(("image", image.id), ("name", escaped(name))): image.inodes}


def test_all_gauges_are_documented() -> None:
    told = re.findall(r"`(ovl1_\w+)`", (ROOT / "ovl1/inodes/OUTPUTS.md").read_text())
    assert set(told) == set(GAUGES)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    builder = small_store(tmp_path / "docker")
    out = tmp_path / "ovl1.prom"
    out.write_text("old")
    out.chmod(0o600)
    before = out.stat().st_ino
    done = ovl1(builder.layout.data_root, "report", "--prometheus", str(out), umask=0o077)
    assert done.stdout == ""
    assert str(out) in done.stderr
    status = out.stat()
    assert status.st_ino != before
    assert stat.S_IMODE(status.st_mode) == 0o644
    assert sorted(os.listdir(tmp_path)) == ["docker", "ovl1.prom"]
    assert "ovl1_data_root_inodes" in read(out.read_text())


def ovl1(data_root: Path, *arguments: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ovl1", "--data-root", str(data_root), "inodes", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.umask(umask),
    )


def test_both_forms_and_json_at_once(tmp_path: Path) -> None:
    builder = small_store(tmp_path / "docker")
    outs = ["--prometheus", str(tmp_path / "a.prom"), "--html", str(tmp_path / "a.html")]
    call = ["-q", "--data-root", str(builder.layout.data_root), "inodes", "report", "--json"]
    result = CliRunner().invoke(cli, [*call, *outs])
    assert result.exit_code == 0, result.output
    total = json.loads(result.output)["total"]
    text = (tmp_path / "a.prom").read_text()
    assert series(text, "ovl1_data_root_inodes") == {(): total}
    assert f'value="{total}"' in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prometheus", "-", "--html", "-"],
        ["--prometheus", "-", "--json"],
        ["--html", "/no/such/directory/file"],
        ["--html", "/"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_told_at_once(tmp_path: Path, arguments: List[str]) -> None:
    # There is no store either: that would be told first if it was looked for first.
    result = CliRunner().invoke(cli, ["--data-root", str(tmp_path), "inodes", "report", *arguments])
    assert result.exit_code == 1
    assert "standard output" in str(result.exception) or "written" in str(result.exception)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    builder = small_store(tmp_path / "docker")
    ovl1(builder.layout.data_root, "report", "--prometheus", os.devnull)
    assert Path(os.devnull).is_char_device()
