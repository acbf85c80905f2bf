"""The units of migrations: systemd understands them, and no timeout of a start ends them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest
from click.testing import CliRunner

from ovl1.cli.main import cli
from ovl1.store import barrier
from tests.support.sources import ROOT

UNITS = [ROOT / f"tools/systemd/ovl1-{name}.service" for name in ("migrate", "resume")]


def settings(unit: Path) -> Dict[str, List[str]]:
    """Each setting with all its values."""
    found: Dict[str, List[str]] = {}
    for line in unit.read_text().splitlines():
        match = re.fullmatch(r"(\w+)=(.*)", line)
        if match:
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    for other in UNITS:
        text = other.read_text().replace("/opt/ovl1/bin/ovl1", "/bin/true")
        (tmp_path / other.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert said == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_no_start_timeout_ends_it(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["oneshot"]
    assert found["TimeoutStartSec"] == ["infinity"]
    assert found["KillMode"] == ["mixed"]
    assert found["KillSignal"] == ["SIGTERM"]
    assert "docker.service" in found["Before"][0]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_command_exists(unit: Path) -> None:
    (line,) = settings(unit)["ExecStart"]
    words = line.split()
    assert words[1] == "migrate"
    shown = CliRunner().invoke(cli, [*words[1:3], "--help"])
    assert shown.exit_code == 0
    for option in (word for word in words[3:] if word.startswith("--")):
        assert option in shown.output


def test_what_tells_that_a_migration_was_stopped(tmp_path: Path) -> None:
    """The condition holds for regular files that are not empty: barriers, but no directories."""
    found = settings(ROOT / "tools/systemd/ovl1-resume.service")
    names = {Path(value.lstrip("|")).name for value in found["ConditionFileNotEmpty"]}
    assert names == {"overlay", "overlay2"}
    barrier.put(tmp_path / "overlay")
    assert (tmp_path / "overlay").is_file()
    assert (tmp_path / "overlay").stat().st_size
