"""A driver's home is made where it can work, and else nothing is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ovl1.driver.opening import open_driver
from ovl1.driver.status import backing_file_system, has_d_type
from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.linux import mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.model import IdMaps, IdRange, Mount
from tests.support.child import as_nobody, in_child
from tests.support.manifest import differences, manifest

pytestmark = pytest.mark.needs("root", "overlay")

MAPS = IdMaps((IdRange(0, 100000, 65536),), (IdRange(0, 200000, 65536),))
_MIB = 1 << 20


def about(path: Path) -> object:
    status = path.stat()
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid


def test_a_home_for_overlay(tmp_path: Path) -> None:
    driver = open_driver(tmp_path, "overlay", runtime=tmp_path / "run")
    assert os.listdir(tmp_path) == ["overlay"]
    assert driver.layout.home == tmp_path / "overlay"
    assert about(driver.layout.home) == ("drwx--x---", 0, 0)
    assert os.listdir(driver.layout.home) == []


def test_a_home_for_overlay2(tmp_path: Path) -> None:
    driver = open_driver(tmp_path, "overlay2", id_maps=MAPS, runtime=tmp_path / "run")
    assert os.listdir(tmp_path) == ["overlay2"]
    assert about(driver.layout.home) == ("drwx--x---", 0, 200000)
    assert os.listdir(driver.layout.home) == ["l"]
    assert about(driver.layout.links) == ("drwx------", 0, 0)


def test_a_home_of_another_name(tmp_path: Path) -> None:
    driver = open_driver(tmp_path, "overlay", home="ovl1", runtime=tmp_path / "run")
    assert os.listdir(tmp_path) == ["ovl1"]
    assert driver.layout.home == tmp_path / "ovl1"


def test_a_home_that_is_there_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "overlay2"
    home.mkdir(0o700)
    (home / "something").touch()
    before = manifest(tmp_path)
    open_driver(tmp_path, "overlay2", runtime=tmp_path / "run")
    assert differences(before, manifest(tmp_path)) == []


def test_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    driver = open_driver(tmp_path / "link", "overlay", runtime=tmp_path / "run")
    assert driver.layout.home == tmp_path / "real" / "overlay"


def test_no_such_driver(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="aufs"):
        open_driver(tmp_path, "aufs")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["overlay", "overlay2"])
@pytest.mark.needs("loop")
def test_overlay_on_overlay(tmp_path: Path, name: str) -> None:
    with loop_file_system("ext4", tmp_path, 16 * _MIB) as disk:
        lower, upper, work, merged = (disk / each for each in "luwm")
        for path in (lower, upper, work, merged):
            path.mkdir()
        with mounts.mounted(mounts.overlay([lower], upper, work), merged):
            with pytest.raises(NotPossibleHere, match="cannot work") as caught:
                open_driver(merged, name, runtime=tmp_path / "run")
            assert caught.value.details
            assert caught.value.resolution
            assert os.listdir(merged) == []


def test_without_privileges(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def attempt() -> int:
        try:
            open_driver(place, "overlay", runtime=tmp_path / "run")
        except NotPossibleHere as err:
            return err.exit_code
        return 0

    ended = in_child(as_nobody(attempt))
    assert ended.code == NotPossibleHere.exit_code, ended.err
    assert os.listdir(place) == []


def test_what_docker_calls_a_file_system(tmp_path: Path) -> None:
    assert backing_file_system(Path("/proc")) == "<unknown>"
    with mounts.mounted(Mount("tmpfs", "tmpfs"), tmp_path):
        assert backing_file_system(tmp_path) == "tmpfs"
        assert has_d_type(tmp_path)
