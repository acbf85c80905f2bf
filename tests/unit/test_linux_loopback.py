"""File systems made on the spot, and gone without a trace."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from ovl1.errors import NotPossibleHere, OvlError, WrongUsage
from ovl1.linux import mounts
from ovl1.linux.loopback import loop_file_system
from tests.support.child import as_nobody, in_child, running

_MIB = 1 << 20
SMALLEST = {"ext4": 1 * _MIB, "xfs": 300 * _MIB, "btrfs": 110 * _MIB}


def loops(below: Path) -> List[str]:
    """The files below a directory that loop devices hold, deleted ones too."""
    held = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            held.append(backing.read_text().strip())
    return [path for path in held if path.startswith(str(below))]


def nothing_is_left(base: Path) -> bool:
    deadline = time.monotonic() + 5
    while loops(base) and time.monotonic() < deadline:
        time.sleep(0.05)
    inside = os.fsencode(base) + b"/"
    mounted = [point for point in mounts.mount_points() if point.path.startswith(inside)]
    return not (loops(base) or mounted or os.listdir(base))


def kinds(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "kind",
        [
            pytest.param(name, marks=pytest.mark.needs("root", "loop", f"mkfs.{name}"))
            for name in names
        ],
    )


@kinds("ext4", "xfs", "btrfs")
def test_kinds(tmp_path: Path, kind: str) -> None:
    with loop_file_system(kind, tmp_path, SMALLEST[kind]) as mounted:
        (mounted / "file").write_text("content")
        (point,) = [p for p in mounts.mount_points() if p.path == os.fsencode(mounted)]
        assert point.fstype == kind
        assert mounted.stat().st_dev != tmp_path.stat().st_dev
        # The image has no name any more, and cannot outlive the mount.
        assert os.listdir(tmp_path) == [mounted.name]
    assert nothing_is_left(tmp_path)


@kinds("ext4")
def test_a_number_of_inodes(tmp_path: Path, kind: str) -> None:
    with loop_file_system(kind, tmp_path, 64 * _MIB, inodes=2048) as mounted:
        assert os.statvfs(mounted).f_files == 2048


@kinds("ext4")
def test_options_of_mkfs(tmp_path: Path, kind: str) -> None:
    with loop_file_system(kind, tmp_path, 8 * _MIB, mkfs_options=["-b", "4096"]) as mounted:
        assert os.statvfs(mounted).f_bsize == 4096


@kinds("ext4")
def test_an_error_in_the_block_cleans_up(tmp_path: Path, kind: str) -> None:
    with pytest.raises(KeyError), loop_file_system(kind, tmp_path, _MIB):
        raise KeyError
    assert nothing_is_left(tmp_path)


@kinds("ext4")
def test_a_user_who_stays_is_told_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    manager = loop_file_system(kind, tmp_path, _MIB)
    mounted = manager.__enter__()
    try:
        with (mounted / "file").open("w") as file:
            file.write("content")
            with pytest.raises(OSError, match=mounted.name) as caught:
                manager.__exit__(None, None, None)
        assert caught.value.errno == errno.EBUSY
        assert (mounted / "file").read_text() == "content"
    finally:
        mounts.umount(mounted)
        mounted.rmdir()
    assert nothing_is_left(tmp_path)


@kinds("ext4")
def test_a_user_who_is_leaving_gets_a_moment(tmp_path: Path, kind: str) -> None:
    told = tmp_path / "told"

    def stay(mounted: Path) -> int:
        with (mounted / "file").open("w"):
            told.touch()
            time.sleep(0.3)
        return 0

    with contextlib.ExitStack() as children:
        with loop_file_system(kind, tmp_path, _MIB) as mounted:
            child = children.enter_context(running(lambda: stay(mounted)))
            while not told.exists():
                time.sleep(0.01)
        assert child.wait().code == 0
    told.unlink()
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("fat", {}),
        ("ext4", {"size_bytes": 1}),
        ("xfs", {"size_bytes": 299 * _MIB}),
        ("xfs", {"inodes": 1000}),
        ("btrfs", {"inodes": 1000}),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, kind: str, arguments: Dict[str, Any]) -> None:
    with pytest.raises(WrongUsage, match=kind), loop_file_system(kind, tmp_path, **arguments):
        pass
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        ("/nowhere", [], "mkfs.ext4 is missing"),
        (None, ["-O", "no_such_feature"], "mkfs.ext4 failed"),
    ],
    ids=["no-mkfs", "mkfs-fails"],
)
@pytest.mark.needs("root", "loop", "mkfs.ext4")
def test_what_is_not_possible(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: Optional[str],
    options: List[str],
    told: str,
) -> None:
    if path is not None:
        monkeypatch.setenv("PATH", path)
    with pytest.raises(NotPossibleHere, match=told) as caught, loop_file_system(
        "ext4", tmp_path, _MIB, mkfs_options=options
    ):
        pass
    assert caught.value.resolution
    assert nothing_is_left(tmp_path)


@pytest.mark.needs("root", "mkfs.ext4")
def test_not_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)

    def unprivileged() -> int:
        try:
            with loop_file_system("ext4", Path("."), _MIB):
                return 0
        except OvlError as err:
            return err.exit_code if "root" in err.resolution else 99

    ended = in_child(as_nobody(unprivileged))
    assert ended.code == NotPossibleHere.exit_code, ended
    assert nothing_is_left(tmp_path)
