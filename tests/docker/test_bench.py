"""The bench itself: recordings of one and the same store are equal, and of unequal ones are not.

Nor does it leave anything behind: each session looks for mounts, loop devices and processes.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.linux import mounts
from ovl1.linux.loopback import KINDS, loop_file_system
from tests.docker import nasty, truth
from tests.docker.daemon import Daemon, DaemonError, DockerError
from tests.docker.nasty_layers import REFUSED_BY_OVERLAY2

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(600),
]


def test_a_restart_changes_no_truth(disk: Path, work: Path, full: bool) -> None:
    if not full:
        pytest.skip("in the full form; every migration is compared in the same way")
    with Daemon(disk / "docker", "overlay", work / "daemon") as daemon:
        nasty.build(daemon)
        before = truth.record(daemon)
        daemon.stop()
        daemon.start()
        assert truth.compare(before, truth.record(daemon)) == []

        daemon.docker("start", "attributes")
        daemon.docker("tag", "nasty/odd:1", "nasty/new:1")
        differences = "\n".join(truth.compare(before, truth.record(daemon)))
    assert "nasty/new:1" in differences
    assert len(truth.saved(before)) == len(before["images"]) - 1, "all but the one without layers"
    assert len(before["containers"]) > 40


def test_the_reason_of_a_difference_is_named(disk: Path, work: Path) -> None:
    with Daemon(disk / "docker", "overlay", work / "daemon") as daemon:
        daemon.docker("import", "-", "base", stdin=nasty.base())
        daemon.docker("create", "--name", "it", "base", "sh")
        before = truth.record(daemon)
        daemon.docker("cp", __file__, "it:/root/new-file")
        differences = truth.compare(before, truth.record(daemon))
    assert [text for text in differences if "'diff': new: A /root/new-file" in text]
    assert [text for text in differences if "'root/new-file': only after" in text]


class Failure(Exception):
    """Of a test, in the middle of its work."""


def fail_while_a_container_runs(daemon: Daemon) -> None:
    with daemon:
        daemon.docker("import", "-", "base", stdin=nasty.base())
        daemon.docker("run", "-d", "--network=none", "base", "sleep", "1000")
        raise Failure


def test_nothing_is_left_behind_by_a_failure(disk: Path, work: Path) -> None:
    with pytest.raises(Failure):
        fail_while_a_container_runs(Daemon(disk / "docker", "overlay", work / "daemon"))


def test_nothing_is_left_behind_by_a_crash(disk: Path, work: Path) -> None:
    with Daemon(disk / "docker", "overlay", work / "daemon") as daemon:
        daemon.docker("import", "-", "base", stdin=nasty.base())
        daemon.docker("run", "-d", "--network=none", "base", "sleep", "1000")
        os.kill(daemon.pid, signal.SIGKILL)


def test_a_daemon_that_cannot_start_says_why(disk: Path, work: Path) -> None:
    with pytest.raises(DaemonError, match="no-such-driver"):
        Daemon(disk / "docker", "no-such-driver", work / "daemon").start()


def test_overlay2_refuses_links_to_lower_layers(disk: Path, work: Path) -> None:
    archive = nasty.archive_of(REFUSED_BY_OVERLAY2)
    with Daemon(disk / "docker", "overlay2", work / "daemon") as daemon, pytest.raises(
        DockerError, match="no such file"
    ):
        daemon.docker("load", stdin=archive)


def fail_on_a_file_system(kind: str, directory: Path) -> None:
    with loop_file_system(kind, directory) as mount_point:
        (mount_point / "file").write_bytes(bytes(1 << 20))
        assert os.path.ismount(mount_point)
        raise Failure


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.needs(f"mkfs.{kind}")) for kind in KINDS]
)
def test_a_file_system_goes_when_its_user_fails(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Failure):
        fail_on_a_file_system(kind, tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_number_of_inodes_can_be_chosen(tmp_path: Path) -> None:
    with loop_file_system("ext4", tmp_path, size_bytes=64 << 20, inodes=1000) as mount_point:
        assert 1000 <= os.statvfs(mount_point).f_files < 1200
    with pytest.raises(WrongUsage), loop_file_system("xfs", tmp_path, inodes=1000):
        pass


def test_a_file_system_in_use_is_not_taken_away(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        mount_point = stack.enter_context(loop_file_system("ext4", tmp_path))
        used = (mount_point / "file").open("w")
        with pytest.raises(OSError, match=re.escape(str(mount_point))):
            stack.close()
        assert sorted(os.listdir(mount_point)) == ["file", "lost+found"]
        used.close()
        mounts.umount(mount_point)
        mount_point.rmdir()


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotPossibleHere, match=r"mkfs\.ext4"), loop_file_system("ext4", tmp_path):
        pass
    assert os.listdir(tmp_path) == []
