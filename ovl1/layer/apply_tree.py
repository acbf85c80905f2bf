"""The tree that a tar is unpacked to, walked as a process chrooted into it would walk it.

A name's parents may be symbolic links: they are followed inside the tree, ``..`` at its top stays
there, absolute targets begin there. Each component is opened with ``O_NOFOLLOW`` in the one before,
so that this holds whatever is renamed meanwhile. The directories on the way to the last place stay
open, because a tar names a directory's entries one after the other.

What is different in a complete tree and in an overlay directory is left to the subclasses.
"""

from __future__ import annotations

import abc
import errno
import os
from typing import List, Optional, Sequence, Tuple

from ovl1.closing import Closing
from ovl1.errors import LayerError
from ovl1.formats.whiteouts import Parts, shown
from ovl1.layer.unpacked import Unpacked
from ovl1.linux.beneath import DIR, Directory
from ovl1.linux.trail import Trail
from ovl1.tree.remove import remove_tree

NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)

_IMPLIED_MODE = 0o755
_MOST_LINKS = 40  # include/linux/namei.h MAXSYMLINKS


class Tree(Closing, abc.ABC):
    """Where entries go; holds the current place open. A context manager.

    Args:
        target: its root; stays open, and the caller's.
        owner: user and group id of directories that the tar only implies.
    """

    may_change_all = False
    """Whether no inode in here can be shared with another layer."""

    def __init__(self, target: Directory, owner: Tuple[int, int]) -> None:
        self.root = target
        self.here = target
        """The directory at the current place; open until the next move."""
        self.unpacked = Unpacked()
        self._owner = owner
        self._trail = Trail(target)
        self._asked: Optional[Parts] = ()

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._trail.close()

    @property
    def parts(self) -> Parts:
        """The current place, with no symbolic link in it."""
        return tuple(self._trail.parts)

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
        if parts == self._asked:
            return self.here
        self._asked = None
        try:
            self._walk(parts, imply=imply)
        except FileNotFoundError as err:
            if not imply:
                raise
            raise _bad_path(parts, "a symbolic link to what is not there") from err
        except NotADirectoryError as err:
            raise _bad_path(parts, "something that is no directory") from err
        self._asked = parts
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

    def opaque(self, parts: Parts) -> None:
        """Remove what the tar has not unpacked below `parts`; a symbolic link has nothing below.

        Raises:
            LayerError: as `reach`, and if there is something else.
        """
        self.reach(parts[:-1])
        if parts:
            self._asked = None
            try:
                if self._enter(parts[-1], imply=True) is not None:
                    return
            except NotADirectoryError as err:
                raise _bad_path(parts, "something that is no directory") from err
            self._asked = parts
        self._remove_inherited()
        self._hide_lower()

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

    @abc.abstractmethod
    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        """Move to the directory `name`, or return the target of the symbolic link of that name.

        Raises:
            FileNotFoundError, NotADirectoryError: there is nothing, or something else.
        """

    @abc.abstractmethod
    def _make(self, name: bytes) -> None:
        """Move to the directory `name`, made if it is not there, in the place of anything else."""

    def _hide_lower(self) -> None:
        """Let a view of the current directory show nothing of the layers below."""

    def _down(self, name: bytes) -> None:
        """Move to the directory `name`; where that fails, stay."""
        self.here = self._trail.enter(len(self._trail.parts), name)

    def _up_to(self, depth: int) -> None:
        """Move to the directory `depth` levels below the root."""
        self.here = self._trail.at(depth)

    def _imply(self, name: bytes) -> None:
        """Make the directory `name`, which the tar has no entry for, and move there."""
        self.here.mkdir(name)
        self._down(name)
        # In this order: chown drops setgid, which a parent may have given.
        os.fchown(self.here.fd, *self._owner)
        os.fchmod(self.here.fd, _IMPLIED_MODE)
        self.unpacked.forget(self.here.stat().st_ino)

    def _walk(self, parts: Parts, *, imply: bool) -> None:
        common = 0
        for mine, theirs in zip(self._trail.parts, parts):
            if mine != theirs:
                break
            common += 1
        # As far as the place has the same names, they are no symbolic links.
        self._up_to(common)
        # What the name itself says may be implied, what a link in it says may not.
        pending = [(part, imply) for part in reversed(parts[common:])]
        links = 0
        while pending:
            part, imply = pending.pop()
            if part == b"..":
                self._up_to(max(0, len(self._trail.parts) - 1))
                continue
            link = None if part in (b"", b".") else self._enter(part, imply=imply)
            if link is None:
                continue
            links += 1
            if links > _MOST_LINKS:
                raise _bad_path(parts, "too many symbolic links")
            if link.startswith(b"/"):
                self._up_to(0)
            pending += [(each, False) for each in reversed(link.split(b"/"))]

    def _remove_inherited(self) -> None:
        """Remove what this tar has not unpacked; what it implied counts as inherited, too."""
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


def not_there(name: bytes) -> FileNotFoundError:
    """The error with which the kernel would say that there is no `name`."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(name))


def not_a_directory(name: bytes) -> NotADirectoryError:
    """The error with which the kernel would say that `name` is something else."""
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(name))


def _bad_path(parts: Parts, what: str) -> LayerError:
    return LayerError(f"the layer has a path over {what}: {shown(b'/'.join(parts))}")
