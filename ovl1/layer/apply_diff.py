"""An overlay directory as what a tar is unpacked to: overlay2's ``diff``, or a v1 ``upper``.

The law: a view of it over the layers below shows the tree that the same tar makes in a complete
tree. Docker's own unpacking for overlay2 breaks it; here

- a directory that is only passed through has the metadata of the one below, not 0755 and root;
- a directory that a whiteout or something else has replaced does not show what is below;
- an opaque root, which the kernel does not know, hides each name of its own;
- a hard link to a file below first copies that file up;
- a whiteout where no directory is below leaves nothing: the kernel would list it.

Whiteouts are made for absent names, too, as Docker does. Limits: of the names that a file below
has, only those that the tar mentions become names of the copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Optional, Tuple

from ovl1.layer.apply_tree import (
    NO_DIRECTORY,
    Tree,
    link_target,
)
from ovl1.layer.chrooted import not_a_directory, not_there
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, LINK, Directory
from ovl1.tree.copy import copy_directory_metadata, copy_entry
from ovl1.tree.marks import OPAQUE, is_whiteout
from ovl1.tree.remove import remove_tree
from ovl1.tree.view import Cursor, Found, MergedDir, StackView


class OverlayDirectory(Tree):
    """What is not in the directory shows through from below until it is hidden.

    Args:
        target: the directory.
        below: the layers below; the caller's.
        owner: as for `Tree`.
        mounted: go over symbolic links in the layers below, as a process in the mount would.
            Otherwise directories take their place, as with Docker, which unpacks chrooted into
            ``diff`` and sees nothing else.
    """

    may_change_all = True

    def __init__(
        self,
        target: Directory,
        below: Optional[StackView],
        owner: Tuple[int, int],
        *,
        mounted: bool,
    ) -> None:
        super().__init__(target, owner)
        self._cursor = None if below is None else Cursor(below)
        self._mounted = mounted
        self._merges = [below is not None]
        """For each directory on the way, whether a view shows a lower one's entries there."""

    def close(self) -> None:
        """See `Tree.close`."""
        super().close()
        if self._cursor is not None:
            self._cursor.close()

    def vacate(self, name: bytes) -> None:
        """See `Tree.vacate`."""
        remove_tree(self.here, name)

    def white_out(self, name: bytes, owner: Tuple[int, int]) -> None:
        """See `Tree.white_out`."""
        remove_tree(self.here, name)
        if not self._merges[-1]:
            return
        self.here.mknod(name, stat.S_IFCHR, os.makedev(0, 0))
        self.here.chown(name, *owner)
        self.unpacked.forget(self.here.lstat(name).st_ino)

    def bring(self, name: bytes) -> None:
        """See `Tree.bring`."""
        if self.here.exists(name):
            if is_whiteout(self.here.lstat(name)):
                raise not_there(name)
            return
        lower, found = self._below(name)
        if lower is None or found is None:
            raise not_there(name)
        if found.kind == DIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(name))
        copy_entry(lower.source_of(name, found), self.here, name)
        self.unpacked.forget(self.here.lstat(name).st_ino)

    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        try:
            self._down(name)
            return None
        except FileNotFoundError:
            return self._enter_below(name, imply=imply)
        except OSError as err:
            if err.errno not in NO_DIRECTORY:
                raise
        if not is_whiteout(self.here.lstat(name)):
            return link_target(self.here, name)
        if not imply:
            raise not_there(name)
        self.here.unlink(name)
        self._imply(name)
        self._separate()
        return None

    def _enter_below(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        """Enter `name`, which only the layers below may have."""
        lower, found = self._below(name)
        if lower is not None and found is not None:
            if found.kind == DIR:
                self.here.mkdir(name)
                self._down(name)
                self._take_metadata()
                self.unpacked.forget(self.here.stat().st_ino)
                return None
            if found.kind != LINK:
                raise not_a_directory(name)
            if self._mounted:
                return lower.layer_of(found).readlink(name)
        if not imply:
            raise not_there(name)
        self._imply(name)
        return None

    def _make(self, name: bytes) -> None:
        try:
            self.here.mkdir(name)
        except FileExistsError:
            try:
                self._down(name)
                return
            except OSError as err:
                if err.errno not in NO_DIRECTORY:
                    raise
            self.here.unlink(name)
            self.here.mkdir(name)
            self._down(name)
            self._separate()
        else:
            self._down(name)
            if self._merges[-1]:
                self._take_metadata()

    def _hide_lower(self) -> None:
        if self._trail.parts:
            xattrs.set_fd(self.here.fd, OPAQUE, b"y")
            self._merges[-1] = False
            return
        # At the root of a mount the kernel merges all layers, whatever the attribute says.
        entries = {} if self._cursor is None else self._cursor.at(()).entries
        for name, found in entries.items():
            if not self.here.exists(name):
                self.white_out(name, self._owner)
            elif found.kind == DIR:
                with contextlib.suppress(NotADirectoryError), self.here.child(name) as directory:
                    xattrs.set_fd(directory.fd, OPAQUE, b"y")

    def _down(self, name: bytes) -> None:
        _, found = self._below(name)
        super()._down(name)
        self._merges.append(
            found is not None
            and found.kind == DIR
            and xattrs.read_fd(self.here.fd).get(OPAQUE) != b"y"
        )

    def _up_to(self, depth: int) -> None:
        super()._up_to(depth)
        del self._merges[depth + 1 :]

    def _take_metadata(self) -> None:
        """Give a directory that has just been made what the one below it has."""
        if self._cursor is not None:
            copy_directory_metadata(self._cursor.at(self.parts).top, self.here)

    def _separate(self) -> None:
        """Let a directory that has just been made be another one than that below it."""
        if self._merges[-1]:
            xattrs.set_fd(self.here.fd, OPAQUE, b"y")
            self._merges[-1] = False

    def _below(self, name: bytes) -> Tuple[Optional[MergedDir], Optional[Found]]:
        """The directory below the current one, and what it shows at `name`."""
        if self._cursor is None or not self._merges[-1]:
            return None, None
        lower = self._cursor.at(self.parts)
        return lower, lower.find(name)
