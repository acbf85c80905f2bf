"""A merged view as data: what an overlay mount of some layers would show, without mounting it.

`StackView` holds the directories of a stack, topmost first: a v1 image layer is a stack of one
(`root/`), a v1 container of two (`upper/` over its image's `root/`), an overlay2 layer of many.
The rules are the kernel's (Documentation/filesystems/overlayfs.rst): a character device 0:0
hides a name, also in the lowest layer; a directory merges with the directories of that name
below it until something else is in the way or one has ``trusted.overlay.opaque=y``.

Limits: what ``redirect_dir`` and ``metacopy`` leave in an upper layer is recognised and refused,
not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import (
    Callable,
    Dict,
    Iterable,
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

OPAQUE = "trusted.overlay.opaque"
REDIRECT = "trusted.overlay.redirect"
METACOPY = "trusted.overlay.metacopy"
PRIVATE_PREFIX = "trusted.overlay."

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
    """One directory of a view, with its layers' directories open; a context manager."""

    def __init__(self, stack: List[Directory], over: List[bool], *, opaque: bool = False) -> None:
        self.stack = stack
        self.over = over
        """For each directory of the stack, whether its layer lies over another one."""
        self.opaque = opaque
        """Whether the topmost directory says so itself; it then hides all that is below."""
        self._entries: Optional[Dict[bytes, Found]] = None

    @property
    def top(self) -> Directory:
        """The directory whose own metadata the view shows."""
        return self.stack[0]

    def close(self) -> None:
        """Close all directories; idempotent."""
        for directory in self.stack:
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
        """The directory in which the entry itself lies."""
        return self.stack[found.depth]

    def child(self, name: bytes) -> MergedDir:
        """Open the sub-directory `name` of the view.

        Raises:
            KeyError: there is no such name.
            NotADirectoryError: it is not a directory.
            LayerError: a layer's directory has been renamed with ``redirect_dir``.
        """
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        if found.kind != DIR:
            raise NotADirectoryError(20, os.strerror(20), os.fsdecode(name))
        return _open_stack(
            ((self.stack[index], self.over[index]) for index in found.merged),
            lambda directory: directory.child(name),
        )

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
        lowest = len(stack) - 1
        return MergedDir(stack, [index < lowest for index in range(len(stack))])

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
        common = 0
        for mine, theirs in zip(self._parts, parts):
            if mine != theirs:
                break
            common += 1
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
                return here.layer_of(found).open_file(parts[-1])
        except (KeyError, NotADirectoryError):
            pass
        raise FileNotFoundError(2, os.strerror(2), os.fsdecode(b"/".join(parts)))

    def _pop_to(self, length: int) -> None:
        while len(self._open) > length:
            self._open.pop().close()
        del self._parts[max(length - 1, 0) :]


def _open_stack(
    candidates: Iterable[Tuple[Directory, bool]], reach: Callable[[Directory], Directory]
) -> MergedDir:
    """Open, topmost first, what merges; an opaque directory is the last one."""
    stack: List[Directory] = []
    over: List[bool] = []
    opaque = False
    try:
        for directory, has_lower in candidates:
            stack.append(reach(directory))
            over.append(has_lower)
            # In the lowest layer these attributes mean nothing: an image may carry them.
            if has_lower and _hides_below(stack[-1]):
                opaque = len(stack) == 1
                break
    except BaseException:
        for directory in stack:
            directory.close()
        raise
    return MergedDir(stack, over, opaque=opaque)


def _hides_below(directory: Directory) -> bool:
    attributes = xattrs.read_fd(directory.fd)
    if REDIRECT in attributes:
        raise LayerError(
            f"a directory was renamed in place (redirect_dir): {attributes[REDIRECT]!r}",
            details="A kernel with redirect_dir=on left a pointer to the directory's old name "
            "instead of a copy; only such a kernel can show this layer.",
            resolution="Start the container once with redirect_dir=off and copy the directory "
            "(cp -a old new; rm -r old), or remove the container.",
        )
    return attributes.get(OPAQUE) == b"y"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is the character device 0:0 with which overlayfs hides a name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


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
