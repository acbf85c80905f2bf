"""Stores that real daemons wrote (tests/data/stores), unpacked where a test wants them."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

from tests.support.sources import ROOT

_STORES = ROOT / "tests/data/stores"
_KEEP = ("--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--warning=no-timestamp")


def extracted(name: str, disk: Path, *, kind: str = "ext4") -> Path:
    """The data-root `name` in a new directory of `disk`, with everything that tar can restore.

    Args:
        kind: of the file system; xfs has no room for the minor number of one of the devices.
    """
    data_root = disk / "docker"
    data_root.mkdir()
    without = ["--exclude=*/nodes/bigdev"] if kind == "xfs" else []
    command = ["tar", *_KEEP, *without, "-xpf", "-", "-C", str(data_root)]
    with lzma.open(_STORES / f"{name}.tar.xz") as archive, subprocess.Popen(
        command, stdin=subprocess.PIPE
    ) as tar:
        assert tar.stdin is not None
        shutil.copyfileobj(archive, tar.stdin)
        tar.stdin.close()
    assert tar.returncode == 0
    return data_root
