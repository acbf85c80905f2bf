"""How the names of a tar lead through a tree: as for a process that is chrooted into it.

A name's parents may be symbolic links: they are followed inside the tree, ``..`` at its top stays
there, absolute targets begin there. What a directory is, and how one is entered, is left to the
subclasses: of a real tree, or of one that is only thought of.
"""

from __future__ import annotations

import abc
import errno
import os
from typing import Optional, Sequence

from ovl1.errors import LayerError
from ovl1.formats.whiteouts import Parts, shown
from ovl1.linux.trail import in_common

_MOST_LINKS = 40  # include/linux/namei.h MAXSYMLINKS


class Chrooted(abc.ABC):
    """A current place in a tree that a tar is applied to."""

    def __init__(self) -> None:
        self._asked: Optional[Parts] = ()
        """What led to the current place; None if it was something else."""

    @property
    def parts(self) -> Parts:
        """The current place, with no symbolic link in it."""
        return tuple(self._names)

    def opaque(self, parts: Parts) -> None:
        """Remove what the tar has not unpacked below `parts`; a symbolic link has nothing below.

        Raises:
            LayerError: the way leads over what is no directory, or over links to nothing, or to
                something else.
        """
        self._go(parts[:-1], imply=True)
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

    def _go(self, parts: Parts, *, imply: bool) -> None:
        """Move to the directory that `parts` leads to.

        Args:
            imply: make what is missing. It is not remembered as unpacked.

        Raises:
            LayerError: the way leads over what is no directory, or over links to nothing.
            FileNotFoundError: something is missing, without `imply`.
        """
        if parts == self._asked:
            return
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

    def _walk(self, parts: Parts, *, imply: bool) -> None:
        common = in_common(self._names, parts)
        # As far as the place has the same names, they are no symbolic links.
        self._up_to(common)
        # What the name itself says may be implied, what a link in it says may not.
        pending = [(part, imply) for part in reversed(parts[common:])]
        links = 0
        while pending:
            part, imply = pending.pop()
            if part == b"..":
                self._up_to(max(0, len(self._names) - 1))
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

    @property
    @abc.abstractmethod
    def _names(self) -> Sequence[bytes]:
        """The current place, as it is kept."""

    @abc.abstractmethod
    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        """Move to the directory `name`, or return the target of the symbolic link of that name.

        Raises:
            FileNotFoundError, NotADirectoryError: there is nothing, or something else.
        """

    @abc.abstractmethod
    def _make(self, name: bytes) -> None:
        """Move to the directory `name`, made if it is not there, in the place of anything else."""

    @abc.abstractmethod
    def _up_to(self, depth: int) -> None:
        """Move to the directory `depth` levels below the root."""

    @abc.abstractmethod
    def _remove_inherited(self) -> None:
        """Remove what this tar has not unpacked; what it implied counts as inherited, too."""

    @abc.abstractmethod
    def _hide_lower(self) -> None:
        """Let a view of the current directory show nothing of the layers below."""


def not_there(name: bytes) -> FileNotFoundError:
    """The error with which the kernel would say that there is no `name`."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(name))


def not_a_directory(name: bytes) -> NotADirectoryError:
    """The error with which the kernel would say that `name` is something else."""
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(name))


def _bad_path(parts: Parts, what: str) -> LayerError:
    return LayerError(f"the layer has a path over {what}: {shown(b'/'.join(parts))}")
