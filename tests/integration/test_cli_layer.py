"""``ovl1 layer`` from an empty directory on: both drivers, on a file system of their own."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from ovl1.cli.main import run
from ovl1.driver import opening
from ovl1.driver.common import OverlayDriver
from ovl1.linux import locks
from ovl1.linux.loopback import loop_file_system
from ovl1.model import ContainerId
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from tests.support.layers import entry, make_tar
from tests.support.store_builder import write

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

AWKWARD = b"opt/\x1b[2J\n\xff"

BASE = [
    entry("etc", tarfile.DIRTYPE),
    entry("etc/a", data=b"a" * 1000),
    entry("etc/b", data=b"b"),
    entry("opt", tarfile.DIRTYPE),
    entry(os.fsdecode(AWKWARD), data=b"awkward"),
]
TOP = [
    entry("etc", tarfile.DIRTYPE),
    entry("etc/a", data=b"changed"),
    entry("etc/.wh.b"),
    entry("etc/new", data=b"n" * 500),
]
TOP_CHANGES = ["C /etc", "C /etc/a", "D /etc/b", "A /etc/new"]


class Ovl1:
    """Runs ``ovl1 layer`` on one data-root, with one driver."""

    def __init__(
        self, data_root: Path, driver: str, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        self.data_root = data_root
        self.driver = driver
        self.capfd = capfdbinary
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        globals_ = ["--data-root", os.fspath(self.data_root), "--driver", self.driver]
        found = run([*globals_, "layer", *arguments])
        shown = self.capfd.readouterr()
        self.err = os.fsdecode(shown.err)
        assert found == code, shown
        return os.fsdecode(shown.out)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def create(self, *arguments: str) -> str:
        return self("create", *arguments).strip()

    def free_inodes(self) -> int:
        return os.statvfs(self.data_root).f_ffree


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def ovl1(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ovl1]:
    for function in (OverlayDriver.__init__, opening.open_driver):
        monkeypatch.setitem(function.__kwdefaults__, "runtime", tmp_path / "run")
    with loop_file_system("ext4", tmp_path, 64 << 20) as disk:
        data_root = disk / "docker"
        data_root.mkdir()
        yield Ovl1(data_root, request.param, capfdbinary)


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """A directory with ``base.tar.gz`` and ``top.tar``."""
    (tmp_path / "base.tar.gz").write_bytes(gzip.compress(make_tar(BASE).read()))
    (tmp_path / "top.tar").write_bytes(make_tar(TOP).read())
    return tmp_path


@pytest.fixture
def stack(ovl1: Ovl1, tars: Path) -> List[str]:
    """The ids of a base layer, a layer on it, and one to be written to on top."""
    base = ovl1.create()
    ovl1("apply", base, str(tars / "base.tar.gz"))
    top = ovl1.create("--parent", base)
    shown = ovl1("apply", top, str(tars / "top.tar"))
    assert ("3 linked, 0 reflinked, 0 copied" in shown) == (ovl1.driver == OVERLAY)
    return [base, top, ovl1.create("--parent", top, "--read-write")]


@contextlib.contextmanager
def working_in(directory: str) -> Iterator[int]:
    """A process that does."""
    with subprocess.Popen(["sleep", "60"], cwd=directory) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def daemon_on(data_root: Path, scratch: Path) -> Iterator[None]:
    """A program that is called dockerd, and waits."""
    program = scratch / "dockerd"
    shutil.copy(shutil.which("dash") or "/bin/sh", program)
    command = [os.fspath(program), "-c", "echo; read line", "sh", f"--data-root={data_root}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"\n"
            yield
        finally:
            process.kill()


def names(tar: bytes) -> List[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return sorted(opened.getnames())


def test_from_an_empty_directory_to_an_empty_home(
    ovl1: Ovl1, tars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = "ab" * 32
    assert ovl1.create(chosen) == chosen
    assert [path.name for path in ovl1.data_root.iterdir()] == [ovl1.driver]
    ovl1("create", chosen, code=3)
    assert "already" in ovl1.err
    in_the_home = ovl1.free_inodes()
    shown = ovl1("apply", "abab", str(tars / "base.tar.gz"))
    assert ["Entries", "5"] in [line.split() for line in shown.splitlines()]
    ovl1("apply", chosen, str(tars / "base.tar.gz"), code=3)

    top = ovl1.create("--parent", chosen)
    assert len(top) == 64
    with (tars / "top.tar").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        applied = ovl1.json("apply", top, "-")
    assert (applied["id"], applied["parent"]) == (top, chosen)
    assert (applied["entries"], applied["warnings"]) == (4, [])
    assert applied["cloned"]["linked"] == (3 if ovl1.driver == OVERLAY else 0)
    assert ovl1("changes", top, "--parent", chosen).splitlines() == TOP_CHANGES

    before = ovl1.free_inodes()
    removed = ovl1.json("rm", chosen, top)
    assert removed["removed"] == ([chosen, top] if ovl1.driver == OVERLAY else [top, chosen])
    assert removed["inodes"] == ovl1.free_inodes() - before > 0
    assert removed["bytes"] > 0
    assert list((ovl1.data_root / ovl1.driver).glob("[!l]*")) == []
    assert ovl1.free_inodes() > in_the_home


def test_what_a_layer_did(ovl1: Ovl1, stack: List[str], tmp_path: Path) -> None:
    base, top, own = stack
    parent = ["--parent", base] if ovl1.driver == OVERLAY else []
    assert ovl1("changes", top, *parent).splitlines() == TOP_CHANGES
    assert ovl1("changes", own) == ""
    assert int(ovl1("size", top, *parent).split()[0]) == 507
    assert ovl1.json("size", top, *parent)["size"] == 507
    whole = ovl1("changes", top, "--no-parent").splitlines()
    assert [line for line in whole if line.startswith("A /etc")] == whole[:3]

    target = tmp_path / "layer.tar"
    target.write_text("replaced")
    told = ovl1.json("diff", top, *parent, "-o", str(target))
    written = target.read_bytes()
    assert told["bytes"] == len(written)
    assert told["diff_id"] == "sha256:" + hashlib.sha256(written).hexdigest()
    assert names(written) == ["etc", "etc/.wh.b", "etc/a", "etc/new"]
    assert not list(tmp_path.glob(".layer.tar*"))
    ovl1("diff", top, *parent, "-o", "/dev/null")
    ovl1("diff", top, *parent, "-o", str(tmp_path / "no" / "where"), code=2)

    again = ovl1.create("--parent", base)
    ovl1("apply", again, str(target))
    assert ovl1("changes", again, "--parent", base).splitlines() == TOP_CHANGES
    assert ovl1("changes", again, "--parent", top) == ""


def test_a_tar_goes_to_a_pipe(ovl1: Ovl1, stack: List[str]) -> None:
    base = stack[0]
    globals_ = ["--data-root", os.fspath(ovl1.data_root), "--driver", ovl1.driver]
    script = (
        "import sys; from pathlib import Path; from ovl1.cli.main import run\n"
        "from ovl1.driver.common import OverlayDriver\n"
        "OverlayDriver.__init__.__kwdefaults__['runtime'] = Path(sys.argv[1])\n"
        "sys.exit(run(sys.argv[2:]))\n"
    )
    runtime = os.fspath(ovl1.data_root.parent.parent / "run")
    command = [sys.executable, "-c", script, runtime, *globals_, "layer", "diff", "--no-parent"]
    done = subprocess.run([*command, base], capture_output=True, check=True)
    assert done.stderr == b""
    assert os.fsdecode(AWKWARD) in names(done.stdout)


def test_names_cannot_act_on_the_terminal(ovl1: Ovl1, stack: List[str]) -> None:
    arguments = ["changes", stack[0], "--no-parent"]
    assert "A /opt/\\x1b[2J\\n\\xff" in ovl1(*arguments).splitlines()
    paths = [change["path"] for change in ovl1.json(*arguments)]
    assert b"/" + AWKWARD in map(os.fsencode, paths)
    raw = os.fsencode(ovl1(*arguments, "-z")).split(b"\0")
    assert b"A /" + AWKWARD in raw
    assert raw[-1] == b""


def test_mounting(ovl1: Ovl1, stack: List[str]) -> None:
    base, _, own = stack
    told = ovl1.json("mount", own)
    path = Path(told["path"])
    assert told["mounted"]
    assert ovl1("mount", own) == f"{path}\n"
    (path / "etc" / "mine").write_text("mine")
    (path / "etc" / "new").unlink()
    assert ovl1("changes", own).splitlines() == ["C /etc", "A /etc/mine", "D /etc/new"]
    # As often as it was mounted.
    assert ovl1.json("umount", own) == {"id": own, "mounted": True}
    assert ovl1("umount", own) == "Unmounted.\n"
    assert not path.exists() or not list(path.iterdir())
    assert ovl1("umount", own) == "Unmounted.\n"

    if ovl1.driver == OVERLAY:
        told = ovl1.json("mount", base)
        assert told == {"id": base, "path": told["path"], "mounted": False}
        assert (Path(told["path"]) / "etc" / "b").read_text() == "b"
        assert ovl1("umount", base) == "Unmounted.\n"


def test_what_is_in_use_is_not_unmounted(ovl1: Ovl1, stack: List[str]) -> None:
    own = stack[2]
    path = ovl1("mount", own).strip()
    with working_in(path) as pid:
        ovl1("umount", own, code=3)
        assert f"process {pid} (sleep)" in ovl1.err
        assert os.path.ismount(path)
        ovl1("rm", own, code=3)
        assert f"process {pid} (sleep)" in ovl1.err
        assert os.path.ismount(path)
        assert ovl1("umount", "--lazy", own) == "Unmounted.\n"
    ovl1("rm", own)


def test_what_a_container_runs_on_is_left_alone(
    ovl1: Ovl1, stack: List[str], tmp_path: Path
) -> None:
    own, container_id = stack[2], ContainerId("c" * 64)
    layout = Layout(ovl1.data_root, ovl1.driver)
    write(layout.mount(container_id) / "mount-id", own)
    config = {"ID": container_id, "Name": "/c", "Driver": ovl1.driver, "State": {"Running": True}}
    write(layout.container_config(container_id), json.dumps(config))
    path = ovl1("mount", own).strip()
    with daemon_on(ovl1.data_root, tmp_path):
        for arguments in (["umount", own], ["umount", own, "--lazy"]):
            ovl1(*arguments, code=3)
            assert "container c runs on" in ovl1.err
        assert os.path.ismount(path)
    # A daemon that was killed has left it like this.
    assert ovl1("umount", own) == "Unmounted.\n"
    ovl1("rm", own, code=3)
    assert "needed by container c" in ovl1.err


def test_what_something_stands_on_is_not_removed(ovl1: Ovl1, stack: List[str]) -> None:
    _, top, own = stack
    ovl1("rm", top, code=3)
    assert f"{top[:12]} is needed by layer {own[:12]}" in ovl1.err
    assert ovl1("rm", "--force", top).startswith("Removed 1 layer; ")
    assert "warning" in ovl1.err
    ovl1("mount", own, code=3)


def test_a_removal_that_stops_half_way_says_so(ovl1: Ovl1, stack: List[str]) -> None:
    first = ovl1.create("--parent", stack[1], "--read-write")
    own = stack[2]
    path = ovl1("mount", own).strip()
    with working_in(path):
        ovl1("rm", first, own, code=4)
        assert ovl1.err.startswith("ovl1: 1 layer removed, then: ")
        assert {first, own} & set(os.listdir(ovl1.data_root / ovl1.driver)) == {own}
    time.sleep(0.1)
    ovl1("umount", own)


def test_a_failed_apply_leaves_the_layer_as_it_was(ovl1: Ovl1, tars: Path) -> None:
    layer = ovl1.create()
    damaged = tars / "damaged.tar"
    damaged.write_bytes((tars / "top.tar").read_bytes()[:1028])
    ovl1("apply", layer, str(damaged), code=3)
    ovl1("apply", layer, str(tars / "base.tar.gz"), "--max-entries", "4", code=3)
    assert "more than 4 entries" in ovl1.err
    ovl1("apply", layer, str(tars / "base.tar.gz"), "--max-bytes", "2000", code=3)
    assert "more than 2000 bytes" in ovl1.err
    assert ovl1("changes", layer, "--no-parent") == ""
    ovl1("apply", layer, str(tars / "base.tar.gz"))
    assert "A /etc/b" in ovl1("changes", layer, "--no-parent").splitlines()


def test_beside_a_daemon_layers_are_only_looked_at(
    ovl1: Ovl1, stack: List[str], tmp_path: Path
) -> None:
    base, _, own = stack
    entries = sorted(os.listdir(ovl1.data_root / ovl1.driver))
    with daemon_on(ovl1.data_root, tmp_path):
        for arguments in (["create"], ["apply", base, "/dev/null"], ["rm", own]):
            ovl1(*arguments, code=3)
            assert "a daemon runs on" in ovl1.err
            assert "systemctl stop" in ovl1.err
        assert sorted(os.listdir(ovl1.data_root / ovl1.driver)) == entries
        ovl1("changes", own)
        ovl1("size", own)
        ovl1("diff", own, "-o", "/dev/null")
        ovl1("rm", own, "--dry-run")
        ovl1("mount", own)
        ovl1("umount", own)


def test_one_change_at_a_time(ovl1: Ovl1) -> None:
    with locks.exclusive(ovl1.data_root):
        ovl1("create", code=3)
    assert "another ovl1 command" in ovl1.err
    assert os.listdir(ovl1.data_root) == []
