"""What ``index=on`` keeps in an overlay's work directory: copied-up files that had several names.

Such a mount shows the copy under all names that the lower file had, also under those that were
never copied up; an index entry is named by the lower file's handle, in which its inode number is.
Without the index these names show the lower file again. Source: ``struct ovl_fb`` in
fs/overlayfs/overlayfs.h, ``enum fid_type`` in linux/exportfs.h, Linux 4.13 to 6.18.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import List, Optional, Set

from ovl1.errors import LayerError
from ovl1.linux.beneath import FILE, Directory
from ovl1.tree.view import StackView

_HEADER = struct.Struct("BBBBB16s")
"""Version, magic, length, flags, type of the handle, identity of the file system."""
_MAGIC = 0xFB
_NUMBERS = {0x01: "<I", 0x02: "<I", 0x81: "<Q", 0x82: "<Q", 0x4D: "<Q", 0x4E: "<Q", 0x4F: "<Q"}
"""How the inode number begins the handle, by its type: most file systems, xfs, btrfs."""


def paths_shown_by_index(work: Path, view: StackView) -> List[bytes]:
    """Names in the view of a layer that show the lower file, and showed a copy by the index.

    Reads the whole view if there is an index with files, and nothing otherwise.

    Args:
        work: the layer's work directory.

    Raises:
        LayerError: it cannot be told which file an entry stands for.
    """
    inodes = _indexed(work / "index")
    if not inodes:
        return []
    return [
        b"/".join((*parts, name))
        for parts, here in view.walk()
        for name, found in here.entries.items()
        if found.kind == FILE and found.inode in inodes
    ]


def _indexed(path: Path) -> Set[int]:
    """Inode numbers of the lower files that have been copied up."""
    if path.is_symlink() or not path.is_dir():
        return set()
    with Directory.open(path) as index:
        entries = [found.name for found in index.names() if found.kind == FILE]
    return {_inode(name) for name in entries}


def _inode(entry: bytes) -> int:
    number = _number(entry)
    if number is None:
        raise LayerError(
            f"a file of the overlay's index is of an unknown form: {os.fsdecode(entry)!r}",
            resolution="Remove the container, or mount it with index=off and look at its files.",
        )
    return number


def _number(entry: bytes) -> Optional[int]:
    try:
        handle = bytes.fromhex(entry.decode("ascii"))
        _, magic, _, _, kind, _ = _HEADER.unpack_from(handle)
        (number,) = struct.unpack_from(_NUMBERS[kind], handle, _HEADER.size)
    except (ValueError, KeyError, struct.error):
        return None
    return int(number) if magic == _MAGIC else None
