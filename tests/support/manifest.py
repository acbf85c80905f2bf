"""Everything that a change of a directory tree could change, and where two such records differ.

Access and change times are left out: they are the only things that reading, linking and renaming
there and back disturb.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

ROOT = b"."
"""The key of the directory itself."""


class Entry(NamedTuple):
    """One name."""

    mode: int
    """Type and permissions."""
    uid: int
    gid: int
    size: int
    mtime_ns: int
    nlink: int
    inode: int
    device: int
    """What a device node stands for."""
    xattrs: Tuple[Tuple[str, bytes], ...]
    target: bytes
    """Of a symbolic link."""
    sha256: str
    """Of a regular file's content."""


def manifest(path: Path) -> Dict[bytes, Entry]:
    """Every name below `path`, and `path` itself as `ROOT`; no link is followed.

    What is mounted below is not entered: merely to list an overlay mount changes its upper.
    """
    base = os.fsencode(path)
    found = {ROOT: _entry(base)}
    for directory, folders, files in os.walk(base, onerror=_raise):
        for name in (*folders, *files):
            full = os.path.join(directory, name)
            found[os.path.relpath(full, base)] = _entry(full)
        folders[:] = [
            name for name in folders if not os.path.ismount(os.path.join(directory, name))
        ]
    return found


def differences(before: Dict[bytes, Entry], after: Dict[bytes, Entry]) -> List[str]:
    """Each difference in words, sorted by path; an empty list is the proof that there is none."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        text = os.fsdecode(name)
        if old is None:
            told.append(f"{text}: new")
        elif new is None:
            told.append(f"{text}: gone")
        else:
            told += [
                f"{text}: {field} was {was!r}, is {now!r}"
                for field, was, now in zip(Entry._fields, old, new)
                if was != now
            ]
    return told


def _entry(path: bytes) -> Entry:
    status = os.lstat(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    is_link, is_file = stat.S_ISLNK(status.st_mode), stat.S_ISREG(status.st_mode)
    return Entry(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        nlink=status.st_nlink,
        inode=status.st_ino,
        device=status.st_rdev,
        xattrs=tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
        target=os.readlink(path) if is_link else b"",
        sha256=_digest(path) if is_file else "",
    )


def _digest(path: bytes) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _raise(error: OSError) -> None:
    raise error
