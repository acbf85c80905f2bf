"""What the file systems themselves say about inodes, beside what was counted on them."""

from __future__ import annotations

import os
from pathlib import Path

from ovl1.inodes.report import FileSystem
from ovl1.linux import mounts

_OWN = {"ext2": 11, "ext3": 11, "ext4": 11, "xfs": 3}
"""Inodes of an empty file system: ten reserved and ``lost+found`` (mke2fs); the root, bitmap and
summary of the realtime section (mkfs.xfs). Features that somebody asked for (quota of xfs, the
orphan file of ext4) take one or a few more, which then count as being elsewhere."""


def file_system(path: Path, docker: int = 0) -> FileSystem:
    """The file system that a directory lies on, as it is now.

    Args:
        path: without symbolic links.
        docker: inodes of it that were counted.
    """
    status = os.statvfs(path)
    name = os.fsencode(path)
    *_, point = sorted(
        (point for point in mounts.mount_points() if _covers(point.path, name)),
        key=lambda point: len(point.path),
    )
    own = _OWN.get(point.fstype, 0)
    if own and point.path == name and point.root == b"/":
        # The walk of the directory meets these, so they must not be counted twice.
        own -= 2 if point.fstype.startswith("ext") and (path / "lost+found").is_dir() else 1
    return FileSystem(
        kind=point.fstype,
        files=status.f_files,
        used=status.f_files - status.f_ffree,
        own=own,
        path=os.fspath(path),
        docker=docker,
    )


def _covers(mount_point: bytes, path: bytes) -> bool:
    return path == mount_point or path.startswith(mount_point.rstrip(b"/") + b"/")
