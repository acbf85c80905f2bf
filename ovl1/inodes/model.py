"""Applying a layer's tar to a tree in memory: what `ovl1.layer.apply` makes, by headers alone.

Same rules, same order, same refusals as there (`ovl1.layer.entries`), or as Docker has them where
that takes other inodes. Limits: no inode is at its limit of links; what a file system refuses is
not foreseen: attributes, device numbers or names that it has no room for, and a disk that is full.
"""

from __future__ import annotations

import abc
import errno
import os
from typing import Dict

from ovl1.errors import LayerError
from ovl1.formats import tarheader, whiteouts
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.whiteouts import Parts, shown
from ovl1.inodes.nodes import About, Dir, Inode, Tally
from ovl1.inodes.place import Place
from ovl1.layer.chrooted import not_there
from ovl1.linux.beneath import FILE, LINK, SPECIAL
from ovl1.tree.marks import PRIVATE_PREFIX

_PLNK = b".wh..wh.plnk"
_KINDS = {
    tarheader.FILE: FILE,
    tarheader.SYMLINK: LINK,
    tarheader.CHAR: SPECIAL,
    tarheader.BLOCK_DEVICE: SPECIAL,
    tarheader.FIFO: SPECIAL,
}
_TIME_END = 1 << 63
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


class Model(Place):
    """A layer being made: what the entries of its tar do, one after the other.

    Args:
        root: where it begins; of this layer's own version.
        tally: of that tree; kept up.
        docker: by Docker's rules where they differ.
    """

    def __init__(self, root: Dir, tally: Tally, *, docker: bool) -> None:
        super().__init__(root, tally)
        self.docker = docker
        self._plnk: Dict[bytes, TarEntry] = {}

    def add(self, entry: TarEntry) -> None:
        """Do what one entry of the tar asks for.

        Raises:
            LayerError: it cannot be done.
        """
        if entry.kind == tarheader.GLOBAL_PAX:
            return
        meaning = self._meaning(entry.name)
        if isinstance(meaning, whiteouts.Plain):
            self._create(meaning.parts, entry)
        elif isinstance(meaning, whiteouts.Whiteout):
            self.reach(meaning.parts[:-1])
            self.white_out(meaning.parts[-1])
        elif isinstance(meaning, whiteouts.Opaque):
            self.opaque(meaning.parts)
        else:
            if self.docker:
                self.reach(meaning.parts[:-1])
            if entry.kind == tarheader.FILE and meaning.parts[0].startswith(_PLNK):
                self._plnk[meaning.parts[-1]] = entry

    def _meaning(self, name: bytes) -> whiteouts.Meaning:
        return whiteouts.classify(name)

    def _create(self, parts: Parts, entry: TarEntry) -> None:
        if any(part.startswith(whiteouts.PREFIX) for part in parts):
            raise LayerError(f"the layer has a whiteout for a directory: {shown(entry.name)}")
        if entry.kind == tarheader.DIR:
            self._check(entry)
            self.make_directory(parts)
        elif not parts:
            raise LayerError("the layer makes its root something else than a directory")
        elif entry.kind != tarheader.HARDLINK:
            self.reach(parts[:-1])
            self._file(parts[-1], entry)
        elif whiteouts.clean(entry.linkname).startswith(_PLNK):
            kept = self._plnk.get(whiteouts.clean(entry.linkname).rpartition(b"/")[2])
            if kept is None:
                raise _no_target(entry)
            self.reach(parts[:-1])
            self._file(parts[-1], kept)
        else:
            self._link(parts, entry)

    def _check(self, entry: TarEntry) -> None:
        if self.docker:
            return
        if entry.kind == tarheader.CHAR and entry.major == entry.minor == 0:
            raise LayerError(f"{shown(entry.name)} is a character device 0:0")
        for key in entry.xattrs:
            if key.startswith(PRIVATE_PREFIX):
                raise LayerError(f"{shown(entry.name)} has the attribute {key}")

    def _file(self, name: bytes, entry: TarEntry) -> None:
        self._check(entry)
        kind = _KINDS.get(entry.kind)
        if kind is None:
            raise LayerError(f"{shown(entry.name)} is of unknown type {entry.kind!r}")
        if kind == LINK and not entry.linkname:
            raise LayerError(f"the symbolic link {shown(entry.name)} has no target")
        target = entry.linkname if kind == LINK else b""
        made = Inode(kind, self.layer, _about(entry), target, entry.xattrs or None)
        self.drop(self.here, name)
        self.put(name, made)
        self.here.own.add(name)

    def _link(self, parts: Parts, entry: TarEntry) -> None:
        self._check(entry)
        target = whiteouts.components(b"/" + entry.linkname)
        try:
            if not target:
                raise IsADirectoryError(errno.EISDIR, "the root")
            self.reach(target[:-1], imply=False)
            self.bring(target[-1])
            there, found = self.here, (*self.parts, target[-1])
            self.reach(parts[:-1])
            path = (*self.parts, parts[-1])
            if found[: len(path)] == path:
                raise FileNotFoundError(errno.ENOENT, "it would replace its own target")
            self._link_to(there, target[-1], parts[-1], entry)
        except OSError as err:
            if err.errno not in _NOT_THERE:
                raise
            raise _no_target(entry) from err

    def _link_to(self, there: Dir, target: bytes, name: bytes, entry: TarEntry) -> None:
        self.drop(self.here, name)
        inode = self._linkable(there, target)
        if not (inode.layer == self.layer or self.docker or _is_dressed(inode, entry)):
            # The file is not changed for the layers below: both names become a copy's.
            inode = Inode(inode.kind, self.layer, _about(entry), inode.target, inode.xattrs)
            self._replace(there, target, inode)
        if inode.layer == self.layer:
            inode.about = _about(entry)
            if entry.xattrs:
                inode.xattrs = {**(inode.xattrs or {}), **entry.xattrs}
        self.put(name, inode)
        self.here.own.add(name)

    def _linkable(self, there: Dir, name: bytes) -> Inode:
        node = there.entries.get(name)
        if node is None:
            raise not_there(name)
        if isinstance(node, Dir):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(name))
        if self.docker and node.kind != FILE and node.layer != self.layer:
            # Docker has made it anew when it copied the parent's tree.
            node = Inode(node.kind, self.layer, node.about, node.target)
            self._replace(there, name, node)
        return node

    def _replace(self, directory: Dir, name: bytes, inode: Inode) -> None:
        self.tally.remove(directory.entries[name])
        directory.entries[name] = inode
        self.tally.add(inode)

    @abc.abstractmethod
    def white_out(self, name: bytes) -> None:
        """Let `name` at the current place be gone."""

    @abc.abstractmethod
    def bring(self, name: bytes) -> None:
        """Have in the tree the file `name` that a hard link points to."""


def _is_dressed(inode: Inode, entry: TarEntry) -> bool:
    about = _about(entry)
    known = 2 if inode.kind == LINK else 4
    attributes = inode.xattrs or {}
    return inode.about[:known] == about[:known] and all(
        attributes.get(key) == value for key, value in entry.xattrs.items()
    )


def _about(entry: TarEntry) -> About:
    mtime = entry.mtime_ns if 0 <= entry.mtime_ns < _TIME_END else 0
    return entry.uid, entry.gid, entry.mode & 0o7777, mtime


def _no_target(entry: TarEntry) -> LayerError:
    return LayerError(
        f"{shown(entry.name)} is a hard link to {shown(entry.linkname)}, "
        "which is not there or a directory"
    )
