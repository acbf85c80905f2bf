"""Which names of a tree a tar has put there, and which inodes, without holding a path for each.

An inode stands for all its names, except where names of the layer and inherited ones share it:
then the layer's own are listed. Numbers of deleted inodes come back, so whoever makes an inode
that no entry asked for says so with `forget`.
"""

from __future__ import annotations

from typing import Dict, Set


class InodeSet:
    """Inode numbers; those that lie close together, as one directory's do, take a bit each."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: Dict[int, int] = {}

    def add(self, inode: int) -> None:
        """Put a number in; idempotent."""
        word = inode >> 6
        self._words[word] = self._words.get(word, 0) | 1 << (inode & 63)

    def discard(self, inode: int) -> None:
        """Take a number out, if it is in."""
        word = inode >> 6
        if word in self._words:
            self._words[word] &= ~(1 << (inode & 63))

    def __contains__(self, inode: int) -> bool:
        return bool(self._words.get(inode >> 6, 0) >> (inode & 63) & 1)


class Unpacked:
    """What one tar has put into a tree."""

    def __init__(self) -> None:
        self._inodes = InodeSet()
        self._names: Dict[int, Set[bytes]] = {}

    def add(self, inode: int) -> None:
        """Record a new inode, or a merged directory: all its names are the tar's."""
        self._inodes.add(inode)
        if self._names:
            self._names.pop(inode, None)

    def add_copy(self, inode: int, path: bytes) -> None:
        """Record a new inode that has inherited names besides `path`."""
        self._inodes.add(inode)
        self._names[inode] = {path}

    def add_name(self, inode: int, path: bytes) -> None:
        """Record `path` as one more name of an inode that was there."""
        if inode in self._names or inode not in self._inodes:
            self._names.setdefault(inode, set()).add(path)

    def forget(self, inode: int) -> None:
        """Record that an inode is not the tar's, although its number may have been."""
        self._inodes.discard(inode)
        self._names.pop(inode, None)

    def is_new(self, inode: int) -> bool:
        """Whether the inode was made for this tar, so that no other layer can share it."""
        return inode in self._inodes

    def has(self, inode: int, path: bytes) -> bool:
        """Whether the tar has unpacked `path`, which is a name of `inode`."""
        names = self._names.get(inode)
        return inode in self._inodes if names is None else path in names
