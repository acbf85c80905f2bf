"""A merged view as data: what an overlay mount of some layers would show, without mounting it.

`StackView` holds the directories of a stack, topmost first: a v1 image layer is a stack of one
(`root/`), a v1 container of two (`upper/` over its image's `root/`), an overlay2 layer of many.
The rules are the kernel's (Documentation/filesystems/overlayfs.rst): a character device 0:0
hides a name, also in the lowest layer; a directory merges with the directories of that name
below it until something else is in the way or one has ``trusted.overlay.opaque=y``.

What ``redirect_dir`` and ``metacopy`` leave in an upper layer is followed.

Limits: with ``index=on`` a lower file of several names is shown under all of them as it was copied
up under one; that is not seen here.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import (
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from ovl1.closing import Closing
from ovl1.errors import LayerError
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, FILE, LINK, SPECIAL, Directory
from ovl1.linux.trail import in_common
from ovl1.tree.marks import METACOPY, OPAQUE, REDIRECT, is_whiteout
from ovl1.tree.redirect import Trace
from ovl1.tree.stub import StubDirectory

Parts = Tuple[bytes, ...]

_HERE, _NOWHERE = (0,), ()


class Found(NamedTuple):
    """A name in a merged directory, and the topmost layer that has it."""

    kind: str
    inode: int
    depth: int
    """Index of the layer, in the merged directory's own stack."""
    merged: Tuple[int, ...]
    """For a directory: indices of the layers whose directories of this name merge."""


class MergedDir(Closing):
    """One directory of a view, with its layers' directories open; a context manager.

    Args:
        roots: of all layers of the view, topmost first; they stay the caller's.
    """

    def __init__(
        self,
        stack: List[Directory],
        layers: Sequence[int],
        roots: Sequence[Directory],
        *,
        opaque: bool = False,
    ) -> None:
        self.stack = stack
        self.layers = layers
        """For each directory of the stack, which layer it is in, counted from the top."""
        self.opaque = opaque
        """Whether the topmost directory hides all that is below under its name."""
        self._roots = roots
        self._entries: Optional[Dict[bytes, Found]] = None
        self._stubs: Dict[bytes, StubDirectory] = {}

    @property
    def top(self) -> Directory:
        """The directory whose own metadata the view shows."""
        return self.stack[0]

    def close(self) -> None:
        """Close all directories; idempotent."""
        for directory in (*self.stack, *self._stubs.values()):
            directory.close()

    @property
    def entries(self) -> Dict[bytes, Found]:
        """The names that the view shows here."""
        if self._entries is None:
            self._entries = _merge(self.stack)
        return self._entries

    def find(self, name: bytes) -> Optional[Found]:
        """What the view shows at `name`, None if nothing; does not list the directories."""
        if self._entries is not None:
            return self._entries.get(name)
        return _find(self.stack, name)

    def layer_of(self, found: Found) -> Directory:
        """The directory in which the entry itself lies; see `source_of` for its data."""
        return self.stack[found.depth]

    def source_of(self, name: bytes, found: Found) -> Directory:
        """The directory from which the entry can be read whole; valid as long as this one.

        Raises:
            LayerError: the data of a file copied up without them are not there.
        """
        directory = self.stack[found.depth]
        if found.kind != FILE or self._is_lowest(found.depth):
            return directory
        if name not in self._stubs:
            attributes = xattrs.read_at(directory.fd, name)
            if METACOPY not in attributes:
                return directory
            data = self._trace(found.depth, name, attributes).data()
            if data is None:
                raise LayerError(
                    f"{os.fsdecode(name)!r} is a metadata-only copy (metacopy), its data is lost",
                    resolution="Remove the file in the container, or remove the container.",
                )
            self._stubs[name] = StubDirectory(directory, name, *data)
        return self._stubs[name]

    def child(self, name: bytes) -> MergedDir:
        """Open the sub-directory `name` of the view.

        Raises:
            KeyError: there is no such name.
            NotADirectoryError: it is not a directory.
            LayerError: a mark of a directory that was renamed (``redirect_dir``) is damaged.
        """
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        if found.kind != DIR:
            raise NotADirectoryError(20, os.strerror(20), os.fsdecode(name))
        stack: List[Directory] = []
        layers: List[int] = []
        try:
            opaque = self._open_into(stack, layers, name, found.merged)
        except BaseException:
            for directory in stack:
                directory.close()
            raise
        return MergedDir(stack, layers, self._roots, opaque=opaque)

    def _open_into(
        self, stack: List[Directory], layers: List[int], name: bytes, merged: Sequence[int]
    ) -> bool:
        """Open, topmost first, what merges; whether the first hides what is below by its name."""
        for depth in merged:
            stack.append(self.stack[depth].child(name))
            layers.append(self.layers[depth])
            if self._is_lowest(depth):
                break
            attributes = xattrs.read_fd(stack[-1].fd)
            if attributes.get(OPAQUE) == b"y":
                return len(stack) == 1
            if REDIRECT in attributes:
                is_first = len(stack) == 1
                for layer, directory in self._trace(depth, name, attributes).directories():
                    stack.append(directory)
                    layers.append(layer)
                return is_first
        return False

    def _trace(self, depth: int, name: bytes, attributes: xattrs.Xattrs) -> Trace:
        """Follow an entry of one layer, with these marks, through those below."""
        bases = list(zip(self.layers, self.stack))[depth + 1 :]
        trace = Trace(name, bases, self._roots)
        if REDIRECT in attributes:
            trace.redirect(self.layers[depth], attributes[REDIRECT])
        return trace

    def _is_lowest(self, depth: int) -> bool:
        """Whether no layer is below: then marks mean nothing, an image may carry them."""
        return self.layers[depth] == len(self._roots) - 1

    def same_directories(self, other: MergedDir) -> bool:
        """Whether both views show the very same directories here, and so the same below."""
        return len(self.stack) == len(other.stack) and all(
            os.path.samestat(mine.stat(), theirs.stat())
            for mine, theirs in zip(self.stack, other.stack)
        )


class StackView(Closing):
    """The view of a whole layer; a context manager that closes its layers."""

    def __init__(self, layers: Sequence[Directory]) -> None:
        self.layers = list(layers)

    def close(self) -> None:
        """Close the layers; idempotent."""
        for layer in self.layers:
            layer.close()

    def root(self) -> MergedDir:
        """Open the view's root directory, in which all layers merge.

        The kernel does not ask the layers' roots whether they are opaque.
        """
        stack: List[Directory] = []
        try:
            stack.extend(layer.descend(()) for layer in self.layers)
        except BaseException:
            for directory in stack:
                directory.close()
            raise
        return MergedDir(stack, range(len(stack)), self.layers)

    def walk(self) -> Iterator[Tuple[Parts, MergedDir]]:
        """Every directory with its path, parents first; each is valid until the next step."""
        with Cursor(self) as cursor:
            pending: List[Parts] = [()]
            while pending:
                parts = pending.pop()
                here = cursor.at(parts)
                yield parts, here
                pending.extend(
                    (*parts, name)
                    for name, found in sorted(here.entries.items(), reverse=True)
                    if found.kind == DIR
                )


class Cursor(Closing):
    """A place in a view that moves cheaply: directories shared with the last place stay open."""

    def __init__(self, view: StackView) -> None:
        self._view = view
        self._parts: List[bytes] = []
        self._open: List[MergedDir] = []

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._pop_to(0)

    def at(self, parts: Sequence[bytes]) -> MergedDir:
        """Move to the directory at `parts` and return it; it is valid until the next move.

        Raises:
            KeyError, NotADirectoryError, LayerError: as `MergedDir.child`.
        """
        if not self._open:
            self._open.append(self._view.root())
        common = in_common(self._parts, parts)
        self._pop_to(common + 1)
        for part in parts[common:]:
            self._open.append(self._open[-1].child(part))
            self._parts.append(part)
        return self._open[-1]

    def open(self, parts: Sequence[bytes]) -> int:
        """Open the regular file at `parts`, following no link, and return its descriptor.

        Raises:
            FileNotFoundError: the view shows no such file.
        """
        try:
            here = self.at(parts[:-1])
            found = here.entries[parts[-1]]
            if found.kind == FILE:
                return here.source_of(parts[-1], found).open_file(parts[-1])
        except (KeyError, NotADirectoryError):
            pass
        raise FileNotFoundError(2, os.strerror(2), os.fsdecode(b"/".join(parts)))

    def _pop_to(self, length: int) -> None:
        while len(self._open) > length:
            self._open.pop().close()
        del self._parts[max(length - 1, 0) :]


def _merge(stack: Sequence[Directory]) -> Dict[bytes, Found]:
    if len(stack) == 1:
        return _single(stack[0])
    shown: Dict[bytes, Found] = {}
    hidden = set()
    merging: Dict[bytes, List[int]] = {}
    for depth, directory in enumerate(stack):
        for name, inode, kind in directory.names():
            if name in hidden:
                continue
            if name in merging:
                if kind == DIR:
                    merging[name].append(depth)
                else:
                    hidden.add(name)
                continue
            if kind == SPECIAL and is_whiteout(directory.lstat(name)):
                hidden.add(name)
                continue
            shown[name] = Found(kind, inode, depth, ())
            if kind == DIR:
                merging[name] = [depth]
            else:
                hidden.add(name)
    for name, depths in merging.items():
        shown[name] = shown[name]._replace(merged=tuple(depths))
    return shown


_NOT_THERE = (errno.ENOENT, errno.ENAMETOOLONG)
_KINDS = {stat.S_IFDIR: DIR, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}


def _find(stack: Sequence[Directory], name: bytes) -> Optional[Found]:
    """What `_merge` gives for one name."""
    found: Optional[Found] = None
    merged: List[int] = []
    for depth, directory in enumerate(stack):
        try:
            status = directory.lstat(name)
        except OSError as err:
            if err.errno not in _NOT_THERE:
                raise
            continue
        if is_whiteout(status):
            break
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), SPECIAL)
        if found is None:
            found = Found(kind, status.st_ino, depth, ())
        if kind != DIR:
            break
        merged.append(depth)
    return None if found is None else found._replace(merged=tuple(merged))


def _single(directory: Directory) -> Dict[bytes, Found]:
    """What `_merge` gives for one directory, which most are."""
    make = tuple.__new__  # see `Directory.names`
    return {
        name: make(Found, (kind, inode, 0, _HERE if kind == DIR else _NOWHERE))
        for name, inode, kind in directory.names()
        if kind != SPECIAL or not is_whiteout(directory.lstat(name))
    }
