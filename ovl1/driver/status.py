"""What ``docker info`` says of a driver's home: its file system by Docker's name, and d_type."""

from __future__ import annotations

import os
from pathlib import Path

from ovl1.linux import libc

# daemon/graphdriver/driver_linux.go (FsNames); the numbers are those of linux/magic.h.
_NAMES = {
    0x61756673: "aufs",
    0x9123683E: "btrfs",
    0x28CD3D45: "cramfs",
    0xF15F: "ecryptfs",
    0xEF53: "extfs",
    0xF2F52010: "f2fs",
    0x65735546: "fuse",
    0x47504653: "gpfs",
    0x72B6: "jffs2",
    0x3153464A: "jfs",
    0x6969: "nfs",
    0x794C7630: "overlayfs",
    0x858458F6: "ramfs",
    0x52654973: "reiserfs",
    0x517B: "smb",
    0x73717368: "squashfs",
    0x01021994: "tmpfs",
    0xA501FCF5: "vxfs",
    0x58465342: "xfs",
    0x2FC12FC1: "zfs",
}


def backing_file_system(home: Path) -> str:
    """The kind of file system that `home` lies on."""
    return _NAMES.get(libc.file_system_magic(os.fspath(home)), "<unknown>")


def has_d_type(home: Path) -> bool:
    """Whether directory entries carry their type; ``.`` and ``..`` of `home` tell."""
    return all(kind for _, kind in libc.directory_types(os.fspath(home)))
