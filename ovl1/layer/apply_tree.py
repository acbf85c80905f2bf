"""The tree that a tar is unpacked to, walked as a process chrooted into it would walk it.

See `ovl1.layer.chrooted` for the way that names lead. Each component is opened with ``O_NOFOLLOW``
in the one before, so that it holds whatever is renamed meanwhile. The directories on the way to the
last place stay open, because a tar names a directory's entries one after the other.

What is different in a complete tree and in an overlay directory is left to the subclasses.
"""

from __future__ import annotations

import abc
import errno
import os
from typing import List, Optional, Sequence, Tuple

from ovl1.closing import Closing
from ovl1.formats.whiteouts import Parts
from ovl1.layer.chrooted import Chrooted, not_a_directory
from ovl1.layer.unpacked import Unpacked
from ovl1.linux.beneath import DIR, Directory
from ovl1.linux.trail import Trail
from ovl1.tree.remove import remove_tree

NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)

_IMPLIED_MODE = 0o755


class Tree(Chrooted, Closing):
    """Where entries go; holds the current place open. A context manager.

    Args:
        target: its root; stays open, and the caller's.
        owner: user and group id of directories that the tar only implies.
    """

    may_change_all = False
    """Whether no inode in here can be shared with another layer."""

    def __init__(self, target: Directory, owner: Tuple[int, int]) -> None:
        super().__init__()
        self.root = target
        self.here = target
        """The directory at the current place; open until the next move."""
        self.unpacked = Unpacked()
        self._owner = owner
        self._trail = Trail(target)

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._trail.close()

    def path_of(self, name: bytes) -> bytes:
        """The path of `name` at the current place, from the root."""
        return b"/".join((*self._trail.parts, name))

    def reach(self, parts: Parts, *, imply: bool = True) -> Directory:
        """Move to the directory that `parts` leads to, and return it.

        Args:
            imply: make what is missing. It is not remembered as unpacked.

        Raises:
            LayerError: the way leads over what is no directory, or over links to nothing.
            FileNotFoundError: something is missing, without `imply`.
        """
        self._go(parts, imply=imply)
        return self.here

    def directory(self, parts: Parts) -> Directory:
        """Move to the directory `parts` that the tar has an entry for, and return it.

        What is there and no directory is replaced; the last component is not followed.
        """
        self.reach(parts[:-1])
        if parts:
            self._asked = None
            self._make(parts[-1])
            self._asked = parts
        self.unpacked.add(self.here.stat().st_ino)
        return self.here

    def revisit(self, parts: Sequence[bytes]) -> Optional[Directory]:
        """Move to a directory once unpacked, None if it is none any more; for the very end."""
        try:
            return self._trail.to(parts)
        except OSError as err:
            if err.errno not in (errno.ENOENT, *NO_DIRECTORY):
                raise
            return None

    @abc.abstractmethod
    def vacate(self, name: bytes) -> None:
        """Make room for an entry `name` at the current place that is no directory."""

    @abc.abstractmethod
    def white_out(self, name: bytes, owner: Tuple[int, int]) -> None:
        """Let `name` at the current place be gone."""

    @abc.abstractmethod
    def bring(self, name: bytes) -> None:
        """Have in the tree the file `name` at the current place that a hard link points to.

        Raises:
            FileNotFoundError, IsADirectoryError: there is no such file, or it may be seen here.
        """

    def _hide_lower(self) -> None:
        """See `Chrooted`; a complete tree shows nothing but itself."""

    @property
    def _names(self) -> Sequence[bytes]:
        return self._trail.parts

    def _down(self, name: bytes) -> None:
        """Move to the directory `name`; where that fails, stay."""
        self.here = self._trail.enter(len(self._trail.parts), name)

    def _up_to(self, depth: int) -> None:
        self.here = self._trail.at(depth)

    def _imply(self, name: bytes) -> None:
        """Make the directory `name`, which the tar has no entry for, and move there."""
        self.here.mkdir(name)
        self._down(name)
        # In this order: chown drops setgid, which a parent may have given.
        os.fchown(self.here.fd, *self._owner)
        os.fchmod(self.here.fd, _IMPLIED_MODE)
        self.unpacked.forget(self.here.stat().st_ino)

    def _remove_inherited(self) -> None:
        start = self.parts
        pending: List[Parts] = [()]
        while pending:
            at = pending.pop()
            with self.here.descend(at) as directory:
                for name, inode, kind in directory.names():
                    if not self.unpacked.has(inode, b"/".join((*start, *at, name))):
                        remove_tree(directory, name)
                    elif kind == DIR:
                        pending.append((*at, name))


def link_target(here: Directory, name: bytes) -> bytes:
    """The target of the symbolic link `name`.

    Raises:
        NotADirectoryError: it is no link; it has been found to be no directory before.
    """
    try:
        return here.readlink(name)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        raise not_a_directory(name) from err
