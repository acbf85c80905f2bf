"""A real dockerd that is told its driver by daemon.json, before a migration, after it, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docker.daemon import Daemon, DaemonError
from tests.docker.ovl1 import REFUSED, ovl1
from tests.support.store_builder import tar_of

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4"),
    pytest.mark.timeout(300),
]


def told(data_root: Path, work: Path, config: Path) -> Daemon:
    return Daemon(data_root, None, work / "daemon", options=[f"--config-file={config}"])


def test_the_daemon_follows(disk: Path, work: Path) -> None:
    config, data_root = work / "daemon.json", disk / "docker"
    config.write_text(json.dumps({"storage-driver": "overlay", "log-level": "warn"}))
    with told(data_root, work, config) as daemon:
        daemon.docker("import", "-", "base:1", stdin=tar_of({"etc/file": b"x"}))
        image = daemon.docker("images", "-q", "--no-trunc")
    options = ("--write-daemon-json", str(config))
    ovl1(data_root, "migrate", "plan", "--engine", "20.10", *options)
    ovl1(data_root, "migrate", "run", "--engine", "20.10", *options)
    with told(data_root, work, config) as daemon:
        assert daemon.docker("info", "-f", "{{.Driver}}") == "overlay2"
        assert daemon.docker("images", "-q", "--no-trunc") == image
    ovl1(data_root, "migrate", "rollback")
    with told(data_root, work, config) as daemon:
        assert daemon.docker("info", "-f", "{{.Driver}}") == "overlay"
        assert daemon.docker("images", "-q", "--no-trunc") == image


def test_what_the_check_refuses_docker_does_too(disk: Path, work: Path) -> None:
    config, data_root = work / "daemon.json", disk / "docker"
    config.write_text('{"storage-driver": "overlay"}')
    with told(data_root, work, config) as daemon:
        daemon.docker("import", "-", "base:1", stdin=tar_of({"etc/file": b"x"}))
    config.write_text('{"storage-opts": ["dm.basesize=20G"]}')
    options = ("--engine", "20.10", "--write-daemon-json", str(config))
    ovl1(data_root, "migrate", "run", *options, expect=REFUSED)
    ovl1(data_root, "migrate", "run", *options[2:])
    with pytest.raises(DaemonError, match="unknown option"):
        told(data_root, work, config).start()
