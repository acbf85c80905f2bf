"""What other commands say where a migration is not finished: not that there is no store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator, List

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.migrate.area import Area
from tests.support.child import command, in_child
from tests.support.manifest import differences, manifest
from tests.support.moments import AFTER, KILLED, Point, killed
from tests.support.store_builder import real_store

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

REFUSED = 3
COMMANDS: List[List[str]] = [
    ["info"],
    ["image", "ls"],
    ["image", "verify", "--all"],
    ["image", "load", "/dev/null"],
    ["image", "rm", "app:1"],
    ["container", "ls"],
    ["layer", "ls"],
    ["layer", "create", "f" * 64],
    ["inodes", "report"],
    ["--driver", "overlay", "image", "ls"],
    ["--driver", "overlay2", "image", "load", "/dev/null"],
]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=4096) as where:
        (where / "docker").mkdir()
        real_store(where / "docker")
        yield where


def all_keep_away(root: Path) -> None:
    before = manifest(root)
    for arguments in COMMANDS:
        ended = in_child(command(root, *arguments))
        assert ended.code == REFUSED, (arguments, ended)
        assert "is not finished" in ended.err
        assert "`ovl1 migrate status`" in ended.err
    assert differences(before, manifest(root)) == []
    shown = in_child(command(root, "info"))
    assert "run `ovl1 migrate status`" in shown.out
    values = in_child(command(root, "info", "--json"))
    assert json.loads(values.out)["half_migrated"]
    assert json.loads(values.err)["error"]["exit_code"] == REFUSED
    assert in_child(command(root, "migrate", "status")).code == 0


@pytest.mark.parametrize(
    "point",
    [Point("Bar.do", 0, AFTER), Point("Swap.do", 0, AFTER), Point("Swap.do", 1, AFTER)],
    ids=str,
)
def test_of_a_store_beside_the_old_one(mounted: Path, point: Point) -> None:
    root = mounted / "docker"
    assert in_child(killed(point, command(root, "migrate", "run"))).code == KILLED
    all_keep_away(root)
    assert in_child(command(root, "migrate", "resume")).code == 0
    assert in_child(command(root, "image", "ls")).code == 0
    assert not json.loads(in_child(command(root, "info", "--json")).out)["half_migrated"]


def test_of_a_data_root_elsewhere(mounted: Path) -> None:
    old, new = mounted / "docker", mounted / "new"
    point = Point("MakeLayers.do", 0, AFTER)
    run = command(old, "migrate", "run", "--to", str(new))
    assert in_child(killed(point, run)).code == KILLED
    all_keep_away(new)
    assert in_child(command(old, "image", "ls")).code == 0
    assert in_child(command(new, "migrate", "rollback")).code == 0
    assert not Area(new).home.exists()
