"""Which blocks files have in common, on real file systems."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ovl1.linux import durable, libc
from ovl1.linux.extents import may_share, shared_bytes
from ovl1.linux.loopback import loop_file_system

SIZE = 300 << 10


def shared(path: Path) -> int:
    with path.open("rb") as file:
        return shared_bytes(file.fileno())


@pytest.mark.needs("root", "loop", "mkfs.xfs")
def test_what_is_cloned_is_shared_until_it_is_changed(tmp_path: Path) -> None:
    with loop_file_system("xfs", tmp_path, 512 << 20) as disk:
        assert may_share(disk)
        one, other = disk / "one", disk / "other"
        # Many extents: every second block is a hole.
        with one.open("wb") as file:
            for at in range(0, SIZE * 2, 8192):
                os.pwrite(file.fileno(), b"x" * 4096, at)
        os.sync()
        assert shared(one) == 0
        with one.open("rb") as source, other.open("wb") as target:
            libc.clone_file(source.fileno(), target.fileno())
        assert shared(one) == shared(other) == SIZE
        with other.open("r+b") as file:
            os.pwrite(file.fileno(), b"y" * 4096, 0)
            os.fsync(file.fileno())
        assert shared(one) == shared(other) == SIZE - 4096
        one.unlink()
        # xfs lets go of a removed file's blocks a moment later.
        deadline = time.monotonic() + 5
        while shared(other) and time.monotonic() < deadline:
            durable.sync_file_system(disk)
            time.sleep(0.05)
        assert shared(other) == 0


@pytest.mark.needs("root", "loop", "mkfs.ext4")
def test_nothing_is_shared_on_ext4(tmp_path: Path) -> None:
    with loop_file_system("ext4", tmp_path, 64 << 20) as disk:
        assert not may_share(disk)
        (disk / "file").write_bytes(b"x" * SIZE)
        assert shared(disk / "file") == 0


def test_what_has_no_blocks_shares_none() -> None:
    with open("/proc/self/status", "rb") as file:
        assert shared_bytes(file.fileno()) == 0
