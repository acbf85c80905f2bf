"""Layers that a real daemon made are layers of ours, and the other way round."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from ovl1.driver.common import OverlayDriver
from ovl1.driver.opening import open_driver
from ovl1.model import LayerId
from ovl1.store.store import Store
from tests.conformance.world import new_id
from tests.docker.daemon import Daemon
from tests.support.layers import entry, make_tar

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

CHANGE = (
    "echo new >/new; rm -r /dir/gone; echo more >>/dir/file; mkdir /made; mv /moved /made/; "
    "chmod 700 /dir/file2; rm -r /again; mkdir /again; echo a >/again/a; ln /made/moved /hard"
)


@pytest.fixture(params=["overlay", "overlay2"])
def daemon(request: pytest.FixtureRequest, disk: Path, work: Path) -> Iterator[Daemon]:
    with Daemon(disk / "docker", request.param, work / "daemon") as running:
        busybox = Path(str(shutil.which("busybox"))).read_bytes()
        tar = make_tar(
            [
                entry("bin/", b"5"),
                entry("bin/busybox", data=busybox, mode=0o755),
                *(
                    entry(f"bin/{name}", b"2", linkname="busybox")
                    for name in ("sh", "cat", "rm", "mkdir", "mv", "chmod", "ln", "ls", "true")
                ),
                *(entry(name, b"5") for name in ("dir/", "dir/gone/", "again/", "tmp/")),
                *(entry(name) for name in ("dir/file", "dir/file2", "dir/gone/x", "moved")),
                *(entry(name) for name in ("again/a", "again/b")),
            ]
        )
        (work / "base.tar").write_bytes(tar.read())
        running.docker("import", os.fspath(work / "base.tar"), "base:1")
        yield running


@contextlib.contextmanager
def ours(daemon: Daemon, work: Path) -> Iterator[OverlayDriver]:
    """Our driver on the daemon's data-root; nothing of it is mounted in the end."""
    assert daemon.driver
    driver = open_driver(daemon.data_root, daemon.driver, runtime=work / "run")
    yield driver
    driver.cleanup()


def run(daemon: Daemon, name: str, command: str) -> None:
    daemon.docker("run", "--network=none", "--name", name, "base:1", "sh", "-c", command)


def inspected(daemon: Daemon, name: str) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads(daemon.docker("inspect", name))[0]
    return found


def open_store(daemon: Daemon) -> Store:
    assert daemon.driver
    return Store.open(daemon.data_root, daemon.driver)


def mount_id(daemon: Daemon, container: str) -> LayerId:
    return open_store(daemon).mounts[inspected(daemon, container)["Id"]].mount_id


def diff(daemon: Daemon, name: str) -> List[str]:
    return sorted(daemon.docker("diff", name).splitlines())


def init_of(driver: OverlayDriver, layer: LayerId) -> LayerId:
    init = LayerId(f"{layer}-init")
    assert driver.exists(init)
    return init


def test_we_say_what_docker_says(daemon: Daemon, work: Path) -> None:
    run(daemon, "one", CHANGE)
    with ours(daemon, work) as driver:
        layer = mount_id(daemon, "one")
        told = [
            f"{c.kind.letter} {os.fsdecode(c.path)}"
            for c in driver.changes(layer, init_of(driver, layer), docker=True)
        ]
        assert sorted(told) == diff(daemon, "one")
        data = inspected(daemon, "one")["GraphDriver"]["Data"]
        assert driver.metadata(layer) == data
        store = open_store(daemon)
        base = store.chain(store.image("base:1"))[0].cache_id
        assert driver.metadata(base) == {
            key: value
            for key, value in inspected(daemon, "base:1")["GraphDriver"]["Data"].items()
            if value
        }
        status = json.loads(daemon.docker("info", "--format", "{{json .DriverStatus}}"))
        assert set(driver.status()) <= {tuple(line) for line in status}


def parts(place: Path) -> Dict[str, str]:
    """Names, modes and owners in a layer's directory."""
    found = {}
    for path in (place, *place.iterdir()):
        status = path.lstat()
        name = "" if path == place else path.name
        found[name] = f"{stat.filemode(status.st_mode)} {status.st_uid} {status.st_gid}"
    return found


def test_our_layers_look_like_dockers(daemon: Daemon, work: Path) -> None:
    daemon.docker("create", "--name", "one", "base:1", "true")
    with ours(daemon, work) as driver:
        theirs = mount_id(daemon, "one")
        init = init_of(driver, theirs)
        mine = new_id()
        driver.create_read_write(mine, init)
        driver.get(mine)
        driver.put(mine)
        layout = driver.layout
        assert parts(layout.layer(mine)) == parts(layout.layer(theirs))
        assert parts(layout.work(mine)) == parts(layout.work(theirs))
        assert driver.changes(mine, theirs) == []
        if layout.driver == "overlay2":
            assert layout.lower(mine).read_bytes() == layout.lower(theirs).read_bytes()
        else:
            assert layout.lower_id(mine).read_bytes() == layout.lower_id(theirs).read_bytes()
        driver.remove(mine)


def test_a_home_looks_like_dockers(daemon: Daemon, disk: Path, work: Path) -> None:
    assert daemon.driver
    other = disk / "other"
    other.mkdir()
    home = open_driver(other, daemon.driver, runtime=work / "run").layout.home
    theirs = parts(daemon.data_root / daemon.driver)
    for name, expected in parts(home).items():
        assert theirs[name] == expected


def test_docker_goes_on_with_what_we_wrote(daemon: Daemon, work: Path) -> None:
    run(daemon, "one", CHANGE)
    before = diff(daemon, "one")
    layer = mount_id(daemon, "one")
    daemon.stop()
    with ours(daemon, work) as driver:
        root = driver.get(layer)
        assert (root / "new").read_text() == "new\n"
        (root / "written").write_text("by us\n")
        driver.put(layer)
    daemon.start()
    assert diff(daemon, "one") == sorted([*before, "A /written"])
    daemon.docker("start", "one")
    daemon.docker("wait", "one")
    daemon.docker("rm", "one")
    assert not (daemon.data_root / str(daemon.driver) / layer).exists()


def test_a_running_container_is_counted(daemon: Daemon, work: Path) -> None:
    """Which the daemon has mounted, where we see it too: our put must not be one too many."""
    daemon.docker(
        *("run", "-d", "--network=none", "--name", "one", "base:1"),
        *("busybox", "sleep", "1000"),
    )
    with ours(daemon, work) as driver:
        layer = mount_id(daemon, "one")
        root = driver.get(layer)
        assert os.path.ismount(root)
        (root / "seen").write_text("inside")
        assert daemon.docker("exec", "one", "cat", "/seen") == "inside"
        driver.put(layer)
        assert os.path.ismount(root)
        assert daemon.docker("exec", "one", "cat", "/seen") == "inside"
    daemon.docker("rm", "-f", "one")


def test_the_tar_of_a_layer_is_that_of_docker(daemon: Daemon, work: Path) -> None:
    """What ``docker commit`` makes of a container is what our diff gives."""
    run(daemon, "one", CHANGE)
    daemon.docker("commit", "one", "two:1")
    with ours(daemon, work) as driver:
        layer = mount_id(daemon, "one")
        tar = work / "diff.tar"
        with tar.open("wb") as file:
            for chunk in driver.diff(layer, init_of(driver, layer), docker=True):
                file.write(chunk)
        store = open_store(daemon)
        committed = store.chain(store.image("two:1"))[0].cache_id
        mine = new_id()
        base = store.chain(store.image("base:1"))[0].cache_id
        driver.create(mine, base)
        with tar.open("rb") as file:
            driver.apply_diff(mine, base, file)
        assert driver.changes(mine, committed) == []
        assert driver.changes(mine, base) == driver.changes(committed, base)
        names = subprocess.check_output(["tar", "tf", tar], text=True).splitlines()
        assert "dir/.wh.gone" in names
        driver.remove(mine)
