"""What scanning a tree finds, as data: made by one process, and sent to another through a pipe."""

from __future__ import annotations

import errno
from array import array
from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple

BLOCK = 512
"""Bytes; the unit of ``st_blocks``, whatever the file system's own is."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
_DENIED = (errno.EACCES, errno.EPERM, errno.EIO)


class Segment(NamedTuple):
    """A part of what was found: all that lies below one path."""

    path: bytes
    order: int
    """Where the walk met it: segments of equal trees compare alike, whoever walked."""
    directories: int
    known: int
    """Names of inodes that this scanner had seen before."""
    files: int
    """How many of the inodes in `Found.files` are of this part; they come in order."""
    symlinks: int
    specials: int
    blocks: int
    """Of the directories, if blocks were wanted."""


HIDDEN = Segment(b"", 0, 1, 0, 0, 0, 0, 0)
"""A directory that could not be looked into."""


def inodes() -> array[int]:
    """An empty array of inode numbers, or of where they stand."""
    return array("Q")


@dataclass
class Origins:
    """Where inodes were met first."""

    starts: array[int] = field(default_factory=inodes)
    """For each directory: the index in `Found.files` that its files begin at; in order."""
    paths: List[bytes] = field(default_factory=list)
    """Of the directories, below the top."""


@dataclass
class Found:
    """What one scanner found in some trees; made to be sent through a pipe.

    Inodes are listed that this scanner sees for the first time; another one may know them.
    """

    segments: List[Segment] = field(default_factory=list)
    files: array[int] = field(default_factory=inodes)
    symlinks: array[int] = field(default_factory=inodes)
    specials: array[int] = field(default_factory=inodes)
    blocks: Dict[int, int] = field(default_factory=dict)
    """Of each of these inodes, if they were wanted."""
    again: Dict[int, int] = field(default_factory=dict)
    """How many more names than one a file has; missing if it has none."""
    origins: Origins = field(default_factory=Origins)
    skipped: List[bytes] = field(default_factory=list)
    """The sub-directories of the top that were to be left out."""
    unreadable: List[bytes] = field(default_factory=list)
    """Paths of directories that this user may not read, or nobody can."""
    moving: bool = False
    """Something was changed meanwhile."""


def missed(error: OSError, path: bytes) -> Found:
    """What an error means that a directory could not be read for.

    Raises:
        OSError: the error, if there is no good reason for it.
    """
    if error.errno in _GONE:
        return Found(moving=True)
    if error.errno in _DENIED:
        return Found([HIDDEN], unreadable=[path])
    raise error
