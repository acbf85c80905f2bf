"""Where an entry of an upper layer goes on below, under whatever name.

Kernels with ``redirect_dir`` rename a directory that lower layers have by moving the upper one and
leaving the old name in it; those with ``metacopy`` copy a file up without its data, which stay in
the lower file, and such a file may be renamed, too. The old name counts for the layers below the
one it is found in: a path from the root of each, or a name within the directories below. Source:
``ovl_lookup``, ``ovl_lookup_single`` and ``ovl_check_redirect`` in Linux 6.18 fs/overlayfs/namei.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Iterator, Optional, Sequence, Tuple

from ovl1.errors import LayerError
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory, checked
from ovl1.tree.marks import METACOPY, OPAQUE, REDIRECT, is_whiteout

Below = Tuple[int, Directory]
"""A layer's number, 0 for the topmost, and a directory of it."""

_NOT_THERE = (errno.ENOENT, errno.ENAMETOOLONG)


class Trace:
    """Follows one entry through the layers below it.

    Args:
        bases: the directories below, topmost first, in which it has its name.
        roots: of all layers of the view; in the lowest one no mark means anything.
    """

    def __init__(self, name: bytes, bases: Sequence[Below], roots: Sequence[Directory]) -> None:
        self._path = [name]
        self._bases = list(bases)
        self._roots = roots

    def redirect(self, layer: int, value: bytes, rest: int = 0) -> None:
        """Go on as the mark of an entry of `layer` says.

        Args:
            rest: how many components of the path come after that entry.

        Raises:
            LayerError: the mark leads nowhere.
        """
        at = len(self._path) - 1 - rest
        try:
            if not value.startswith(b"/"):
                self._path[at] = checked(value)
                return
            self._path = [*map(checked, value[1:].split(b"/")), *self._path[at + 1 :]]
        except ValueError as err:
            raise LayerError(f"{REDIRECT} of {self._path[at]!r} is no path: {value!r}") from err
        self._bases = list(enumerate(self._roots))[layer + 1 :]

    def directories(self) -> Iterator[Below]:
        """The directories that merge with it, topmost first, each opened for the caller."""
        for layer, here, name in self._places():
            if not stat.S_ISDIR(here.lstat(name).st_mode):
                return
            directory = here.child(name)
            self._heed(layer, xattrs.read_fd(directory.fd))
            yield layer, directory

    def data(self) -> Optional[Tuple[Directory, bytes]]:
        """The file with the data, by an opened directory and its name there; None if it is lost."""
        for layer, here, name in self._places():
            if not stat.S_ISREG(here.lstat(name).st_mode):
                return None
            attributes = xattrs.read_at(here.fd, name)
            if METACOPY not in attributes or self._is_lowest(layer):
                return here.descend(()), name
            self._heed(layer, attributes)
        return None

    def _heed(self, layer: int, attributes: xattrs.Xattrs, rest: int = 0) -> None:
        """What a mark in `layer` says about the layers below."""
        if self._is_lowest(layer):
            return
        if attributes.get(OPAQUE) == b"y":
            self._bases = []
        elif REDIRECT in attributes:
            self.redirect(layer, attributes[REDIRECT], rest)

    def _is_lowest(self, layer: int) -> bool:
        return layer == len(self._roots) - 1

    def _places(self) -> Iterator[Tuple[int, Directory, bytes]]:
        """Where layers have the entry: each directory, valid until the next, and its name there."""
        while self._bases:
            layer, base = self._bases.pop(0)
            name = self._path[-1]
            with contextlib.ExitStack() as opened:
                here = self._parent(layer, opened.enter_context(base.descend(())))
                if here is None:
                    continue
                status = _lstat(opened.enter_context(here), name)
                if status is None:
                    continue
                if is_whiteout(status):
                    return
                yield layer, here, name

    def _parent(self, layer: int, base: Directory) -> Optional[Directory]:
        """The directory of one layer in which the entry would be; None if it is not there."""
        here = base.descend(())
        above = self._path[:-1]
        for at, name in enumerate(above):
            with here:
                status = _lstat(here, name)
                if status is None or not stat.S_ISDIR(status.st_mode):
                    # What is no directory, such as a whiteout, hides those below.
                    self._bases = [] if status is not None else self._bases
                    return None
                below = here.child(name)
            here = below
            self._heed(layer, xattrs.read_fd(here.fd), len(above) - at)
        return here


def _lstat(directory: Directory, name: bytes) -> Optional[os.stat_result]:
    try:
        return directory.lstat(name)
    except OSError as err:
        if err.errno not in _NOT_THERE:
            raise
        return None
