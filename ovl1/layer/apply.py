"""Applying a layer's tar, to a complete tree (v1) or to an overlay directory (overlay2).

The rules are those of Docker's ``UnpackLayer`` and ``createTarFile`` (``pkg/archive``), in the
tar's order. Better than there: no inode that another layer can see is ever written to (see
`ovl1.layer.entries`), AUFS's own entries leave nothing behind, a directory that the tar only
implies is 0755, not 0600, and what overlay cannot represent is refused (`ovl1.layer.policy`).

The tar may be compressed (`ovl1.formats.compressed`). Limits: sparse files are refused, because
Docker can load such a layer (but for GNU's old form), and then never save it. Nothing is fsynced.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Optional, Tuple

from ovl1.errors import LayerError, Refused
from ovl1.formats import tarheader, tarstream, whiteouts
from ovl1.formats.compressed import decompressed
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.tarstream import Content
from ovl1.formats.whiteouts import Parts, shown
from ovl1.layer.apply_diff import OverlayDirectory
from ovl1.layer.apply_root import CompleteTree
from ovl1.layer.apply_tree import Tree
from ovl1.layer.entries import EntryMaker, directory_times
from ovl1.layer.policy import Policy
from ovl1.layer.spool import DirectoryTimes, PlnkFiles
from ovl1.linux.beneath import Directory
from ovl1.tree.clone import Cloned, clone
from ovl1.tree.copy import copy_directory_metadata
from ovl1.tree.view import StackView

_PLNK = b".wh..wh.plnk"


@dataclass(frozen=True)
class Applied:
    """What applying a layer came to."""

    size: int
    """Bytes that the headers claim, as Docker records a v1 layer's size."""
    entries: int
    warnings: Tuple[str, ...] = ()
    """What the file system could not keep: attributes that it does not have."""
    cloned: Cloned = field(default_factory=Cloned)
    """How the parent's tree was brought in; nothing of it if there is none, or for a diff."""


def apply_to_root(
    tar: BinaryIO,
    parent: Optional[Directory],
    target: Directory,
    *,
    policy: Policy = Policy(),  # noqa: B008 - frozen
) -> Applied:
    """Make in `target` the tree of a layer.

    Args:
        tar: the layer's tar, compressed or not; read to its end.
        parent: the parent layer's tree, on the same file system; stays as it is.
        target: an empty directory.
        policy: limits, and whose ids the tar speaks of.

    Raises:
        Refused: `target` is not empty.
        LayerError: the tar is damaged, or asks for something that must not be done. `target` is
            then incomplete and to be removed.
        OSError: what a system call refused; likewise.
    """
    _refuse_filled(target)
    cloned = Cloned() if parent is None else clone(parent, target)
    applied = _unpack(tar, CompleteTree(target, policy.id_maps.root_pair), policy)
    return replace(applied, cloned=cloned)


def apply_to_diff(
    tar: BinaryIO,
    below: Optional[StackView],
    target: Directory,
    *,
    policy: Policy = Policy(),  # noqa: B008 - frozen
    mounted: bool = False,
) -> Applied:
    """Make in `target` the overlay directory of a layer: only its changes.

    Over `below`, it shows what `apply_to_root` makes of the same tar in a tree with the content of
    `below`, if no name in the tar leads over a symbolic link there, and hard links to one file of
    `below` agree about its metadata: here all get the last, there what was the same stays as it is.

    Args:
        tar: the layer's tar, compressed or not; read to its end.
        below: the layers below, which stay as they are; None for a base layer.
        target: an empty directory, which gets the metadata of the view's root.
        policy: limits, and whose ids the tar speaks of.
        mounted: unpack as into the mounted layer, Docker's way for a v1 layer over one without
            ``root``: names lead over the symbolic links of `below`; and `target` may have entries
            already, which are the layer's own and may change, and keeps its own metadata.

    Raises:
        Refused: `target` is not empty, and it is not `mounted`.
        LayerError, OSError: as for `apply_to_root`.
    """
    if not mounted:
        _refuse_filled(target)
        if below is not None:
            with below.root() as root:
                copy_directory_metadata(root.top, target)
    tree = OverlayDirectory(target, below, policy.id_maps.root_pair, mounted=mounted)
    return _unpack(tar, tree, policy)


def _refuse_filled(target: Directory) -> None:
    if target.names():
        raise Refused(
            "the tree already has something in it",
            details="Its files may be shared with other layers, which a second apply would change.",
        )


def _unpack(tar: BinaryIO, tree: Tree, policy: Policy) -> Applied:
    stream = tarstream.as_file(policy.metered(decompressed(tar)))
    with tree, contextlib.ExitStack() as stack:
        application = _Application(tree, policy, stack)
        for entry, content in tarstream.entries(stream):
            application.add(entry, content)
        while stream.read(tarstream.PIECE):
            pass
        return application.finish()


class _Application:
    def __init__(self, tree: Tree, policy: Policy, stack: contextlib.ExitStack) -> None:
        self._tree = tree
        self._policy = policy
        self._maker = EntryMaker(tree, policy)
        self._times = stack.enter_context(DirectoryTimes(tree.root))
        self._plnk = stack.enter_context(PlnkFiles(tree.root))
        self._size = self._entries = 0

    def add(self, entry: TarEntry, content: Content) -> None:
        """Do what one entry asks for."""
        self._entries += 1
        if self._entries > self._policy.max_entries:
            self._policy.refuse_more_entries()
        if entry.kind == tarheader.GLOBAL_PAX:
            return
        self._size += entry.size
        meaning = whiteouts.classify(entry.name)
        if b".wh." in entry.name:
            _refuse_hidden(meaning, entry)
        try:
            if isinstance(meaning, whiteouts.Plain):
                self._create(meaning.parts, entry, content)
            elif isinstance(meaning, whiteouts.Whiteout):
                self._tree.reach(meaning.parts[:-1])
                self._tree.white_out(meaning.parts[-1], self._policy.whiteout_owner(entry))
            elif isinstance(meaning, whiteouts.Opaque):
                self._tree.opaque(meaning.parts)
            elif entry.kind == tarheader.FILE and meaning.parts[0].startswith(_PLNK):
                self._plnk.keep(meaning.parts[-1], entry, content)
        except OSError as err:
            if err.errno != errno.ENAMETOOLONG:
                raise
            raise LayerError(
                f"{shown(entry.name)} is too long for this file system, or its target is"
            ) from err

    def finish(self) -> Applied:
        """Set the times of directories, which each new name in them has changed."""
        for path, times in self._times:
            directory = self._tree.revisit(path.split(b"/") if path else ())
            # A later whiteout may have taken it away.
            if directory is not None:
                os.utime(directory.fd, ns=times)
        return Applied(self._size, self._entries, self._maker.warnings)

    def _create(self, parts: Parts, entry: TarEntry, content: Content) -> None:
        if entry.kind == tarheader.DIR:
            self._maker.dress_directory(self._tree.directory(parts), entry)
            self._times.add(b"/".join(self._tree.parts), directory_times(entry))
        elif not parts:
            raise LayerError("the layer makes its root something else than a directory")
        elif entry.kind != tarheader.HARDLINK:
            self._tree.reach(parts[:-1])
            self._maker.make(parts[-1], entry, content)
        elif whiteouts.clean(entry.linkname).startswith(_PLNK):
            kept = self._plnk.get(whiteouts.clean(entry.linkname).rpartition(b"/")[2])
            if kept is None:
                raise LayerError(
                    f"{shown(entry.name)} is a hard link to {shown(entry.linkname)}, "
                    "which AUFS has not left in the layer"
                )
            self._tree.reach(parts[:-1])
            self._maker.make(parts[-1], *kept)
        else:
            self._maker.link(parts, entry)


def _refuse_hidden(meaning: whiteouts.Meaning, entry: TarEntry) -> None:
    """Refuse what would make or need a directory with the name of a whiteout."""
    if isinstance(meaning, whiteouts.AufsMetadata):
        return
    parts = meaning.parts[:-1] if isinstance(meaning, whiteouts.Whiteout) else meaning.parts
    if any(part.startswith(whiteouts.PREFIX) for part in parts):
        raise LayerError(
            f"the layer has a whiteout for a directory: {shown(entry.name)}",
            details="Saved again, the directory would be taken for a whiteout.",
        )
