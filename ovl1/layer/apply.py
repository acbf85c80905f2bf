"""Applying a layer's tar to a v1 tree: the parent's tree, linked, and the layer's changes in it.

The rules are those of Docker's ``UnpackLayer`` and ``createTarFile`` (``pkg/archive``), in the
tar's order. Better than there: no inode that the parent can see is ever written to (see
`ovl1.layer.entries`), AUFS's own entries leave nothing behind, and a directory that the tar only
implies is 0755, not 0600.

Limits: paths over symbolic links, hard links into AUFS's ``.wh..wh.plnk``, and sparse files are
refused. Owners are taken as they are, not mapped into a user namespace.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import BinaryIO, Dict, Optional, Set, Tuple

from ovl1.closing import Closing
from ovl1.errors import LayerError, Refused
from ovl1.formats import tarheader, tarstream, whiteouts
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.tarstream import Content
from ovl1.formats.whiteouts import Parts, shown
from ovl1.layer.entries import EntryMaker, directory_times
from ovl1.linux.beneath import DIR, Directory
from ovl1.tree.clone import clone
from ovl1.tree.remove import remove_tree

_IMPLIED_MODE = 0o755
_NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class Applied:
    """What applying a layer came to."""

    size: int
    """Bytes that the headers claim, as Docker records a v1 layer's size."""
    entries: int
    warnings: Tuple[str, ...] = ()
    """What the file system could not keep: attributes that it does not have."""


def apply_to_root(tar: BinaryIO, parent: Optional[Directory], target: Directory) -> Applied:
    """Make in `target` the tree of a layer.

    Args:
        tar: the layer's uncompressed tar; read to its end.
        parent: the parent layer's tree, on the same file system; stays as it is.
        target: an empty directory.

    Raises:
        Refused: `target` is not empty.
        LayerError: the tar is damaged, or asks for something that must not be done. `target` is
            then incomplete and to be removed.
        OSError: what a system call refused; likewise.
    """
    if target.names():
        raise Refused(
            "the tree already has something in it",
            details="Its files may be shared with other layers, which a second apply would change.",
        )
    if parent is not None:
        clone(parent, target)
    with _Application(target) as application:
        for entry, content in tarstream.entries(tar):
            application.add(entry, content)
        applied = application.finish()
    while tar.read(tarstream.CHUNK):
        pass
    return applied


class _Application(Closing):
    def __init__(self, target: Directory) -> None:
        self._target = target
        self._maker = EntryMaker(target)
        self._here = target.descend(())
        self._at: Parts = ()
        self._unpacked: Set[Parts] = set()
        self._directories: Dict[Parts, TarEntry] = {}
        self._size = self._entries = 0

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._here.close()

    def add(self, entry: TarEntry, content: Content) -> None:
        """Do what one entry asks for."""
        self._size += entry.size
        self._entries += 1
        if entry.kind == tarheader.GLOBAL_PAX:
            return
        meaning = whiteouts.classify(entry.name)
        if isinstance(meaning, whiteouts.Whiteout):
            remove_tree(self._go(meaning.parts[:-1]), meaning.parts[-1])
        elif isinstance(meaning, whiteouts.Opaque):
            self._go(meaning.parts)
            self._remove_inherited(meaning.parts)
        elif isinstance(meaning, whiteouts.Plain):
            self._create(meaning.parts, entry, content)
            self._unpacked.add(meaning.parts)

    def finish(self) -> Applied:
        """Set the times of directories, which each new name in them has changed."""
        for parts, entry in self._directories.items():
            try:
                with self._target.descend(parts) as directory:
                    os.utime(directory.fd, ns=directory_times(entry))
            except OSError as err:
                # A later whiteout may have taken it away.
                if err.errno not in (errno.ENOENT, *_NO_DIRECTORY):
                    raise
        return Applied(self._size, self._entries, self._maker.warnings)

    def _create(self, parts: Parts, entry: TarEntry, content: Content) -> None:
        if entry.kind == tarheader.DIR:
            if parts:
                self._make_directory(self._go(parts[:-1]), parts[-1])
            self._maker.dress_directory(self._go(parts), entry)
            self._directories[parts] = entry
        elif parts:
            here = self._go(parts[:-1])
            remove_tree(here, parts[-1])
            self._maker.make(here, parts[-1], entry, content)
        else:
            raise LayerError("the layer makes its root something else than a directory")

    @staticmethod
    def _make_directory(here: Directory, name: bytes) -> None:
        try:
            here.child(name).close()
        except OSError as err:
            if err.errno not in (errno.ENOENT, *_NO_DIRECTORY):
                raise
            remove_tree(here, name)
            here.mkdir(name)

    def _remove_inherited(self, parts: Parts) -> None:
        """Remove what this tar has not unpacked; what it implied counts as inherited, too."""
        pending = [parts]
        while pending:
            at = pending.pop()
            with self._target.descend(at) as directory:
                for name, _, kind in directory.names():
                    path = (*at, name)
                    if path not in self._unpacked:
                        remove_tree(directory, name)
                    elif kind == DIR:
                        pending.append(path)

    def _go(self, parts: Parts) -> Directory:
        """The directory at `parts`, made if missing; open until the next call."""
        if parts == self._at:
            return self._here
        here = self._target.descend(())
        for part in parts:
            with here:
                below = self._enter(here, part, parts)
            here = below
        self._here.close()
        self._here, self._at = here, parts
        return here

    @staticmethod
    def _enter(here: Directory, name: bytes, path: Parts) -> Directory:
        try:
            return here.child(name)
        except FileNotFoundError:
            here.mkdir(name)
            here.chmod(name, _IMPLIED_MODE)
            return here.child(name)
        except OSError as err:
            if err.errno not in _NO_DIRECTORY:
                raise
            raise LayerError(
                f"the layer has a path over something that is no directory: "
                f"{shown(b'/'.join(path))}"
            ) from err
