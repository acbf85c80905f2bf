"""The units: up before Docker, for root alone, and in nobody's way."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Dict

import pytest
from click.testing import CliRunner

from ovl1.cli.main import cli
from tests.support.sources import ROOT

UNITS = ROOT / "tools" / "systemd"
SERVICE, SOCKET = "ovl1-plugin.service", "ovl1-plugin.socket"
# Each gives the unit a mount namespace of its own (systemd.exec(5)): Docker would see no mount.
OWN_NAMESPACE = (
    *("PrivateMounts", "PrivateTmp", "PrivateDevices", "ProtectSystem", "ProtectHome"),
    *("ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups", "MountFlags"),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem"),
    *("RootDirectory", "RootImage", "DynamicUser", "ProtectProc", "ProtectKernelLogs"),
)


def unit(name: str) -> Dict[str, Dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string((UNITS / name).read_text())
    return {section: dict(parser[section]) for section in parser.sections()}


def test_both_are_there_before_docker() -> None:
    for name in (SERVICE, SOCKET):
        assert "docker.service" in unit(name)["Unit"]["Before"].split()
    assert unit(SOCKET)["Install"]["RequiredBy"] == "docker.service"
    assert unit(SERVICE)["Unit"]["Requires"] == SOCKET


def test_it_is_started_anew_however_often_it_fails() -> None:
    assert unit(SERVICE)["Service"]["Restart"] == "always"
    assert unit(SERVICE)["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_socket_is_where_docker_looks_and_for_root_alone() -> None:
    socket = unit(SOCKET)["Socket"]
    assert Path(socket["ListenStream"]) == Path("/run/docker/plugins/ovl1.sock")
    assert socket["SocketMode"] == "0600"


def test_docker_sees_its_mounts() -> None:
    assert not set(unit(SERVICE)["Service"]) & set(OWN_NAMESPACE)


def test_its_command_is_one() -> None:
    program, *arguments = unit(SERVICE)["Service"]["ExecStart"].split()
    assert Path(program).name == "ovl1"
    result = CliRunner().invoke(cli, [*arguments, "--help"])
    assert result.exit_code == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_them(tmp_path: Path) -> None:
    for name in (SERVICE, SOCKET):
        text = (UNITS / name).read_text().replace("/usr/local/bin/ovl1", "/bin/true")
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in (SERVICE, SOCKET))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about_ours = [line for line in done.stderr.splitlines() if "ovl1-plugin" in line]
    assert about_ours == []
