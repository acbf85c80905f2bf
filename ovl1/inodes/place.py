"""A place in a tree in memory, reached by names as a process chrooted into the tree reaches it.

See `ovl1.layer.apply_tree`, whose walk this is, by names alone: the same rules, the same refusals.
"""

from __future__ import annotations

import abc
from typing import List, Optional

from ovl1.errors import LayerError
from ovl1.formats.whiteouts import Parts, shown
from ovl1.inodes.nodes import Dir, Inode, Node, Tally
from ovl1.layer.apply_tree import not_a_directory
from ovl1.linux.beneath import LINK

_MOST_LINKS = 40


class Place(abc.ABC):
    """A current place in a layer that is being made.

    Args:
        root: where it begins; of this layer's own version.
        tally: of that tree; kept up.
    """

    def __init__(self, root: Dir, tally: Tally) -> None:
        self.root, self.tally = root, tally
        self.layer = tally.layer
        self._names: List[bytes] = []
        self._dirs = [root]
        self._asked: Optional[Parts] = ()

    @property
    def here(self) -> Dir:
        """The directory at the current place."""
        return self._dirs[-1]

    @property
    def parts(self) -> Parts:
        """The current place, with no symbolic link in it."""
        return tuple(self._names)

    def reach(self, parts: Parts, *, imply: bool = True) -> None:
        """Move to the directory that `parts` leads to.

        Raises:
            LayerError: the way leads over what is no directory, or over links to nothing.
            FileNotFoundError, NotADirectoryError: without `imply`.
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

    def make_directory(self, parts: Parts) -> None:
        """Move to the directory `parts` that the tar has an entry for, made if need be."""
        self.reach(parts[:-1])
        if not parts:
            return
        self._asked = None
        above = self.here
        self._make(parts[-1])
        above.own.add(parts[-1])
        self._asked = parts

    def make_opaque(self, parts: Parts) -> None:
        """Remove what the tar has not put below `parts`; a symbolic link has nothing below."""
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

    def put(self, name: bytes, node: Node) -> None:
        """Let the free `name` at the current place lead to `node`."""
        self.place(self.here, name, node)

    def place(self, directory: Dir, name: bytes, node: Node) -> None:
        """Let the free `name` of a directory of this layer's lead to `node`."""
        directory.entries[name] = node
        self.tally.add(node)

    def drop(self, directory: Dir, name: bytes) -> None:
        """Remove `name` with all below it; one that is not there is fine."""
        node = directory.entries.pop(name, None)
        if node is not None:
            directory.own.discard(name)
            self.tally.remove(node)

    def _walk(self, parts: Parts, *, imply: bool) -> None:
        common = 0
        for mine, theirs in zip(self._names, parts):
            if mine != theirs:
                break
            common += 1
        self._up_to(common)
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

    def _remove_inherited(self) -> None:
        pending = [self.here]
        while pending:
            directory = pending.pop()
            for name, node in list(directory.entries.items()):
                if name not in directory.own:
                    self.drop(directory, name)
                elif isinstance(node, Dir):
                    # What this tar has an entry for may still be the parent's version.
                    pending.append(self._version(directory, name, node))

    def _version(self, above: Dir, name: bytes, node: Dir) -> Dir:
        made = node.version(self.layer)
        above.entries[name] = made
        return made

    def _down(self, name: bytes, node: Dir) -> None:
        below = self._version(self.here, name, node)
        self._names.append(name)
        self._dirs.append(below)

    def _up_to(self, depth: int) -> None:
        del self._names[depth:], self._dirs[depth + 1 :]

    def _imply(self, name: bytes) -> None:
        made = Dir(self.layer)
        self.put(name, made)
        self._down(name, made)

    @abc.abstractmethod
    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        """Move to the directory `name`, or return the target of the symbolic link."""

    @abc.abstractmethod
    def _make(self, name: bytes) -> None:
        """Move to the directory `name`, made in the place of anything else."""

    @abc.abstractmethod
    def _hide_lower(self) -> None:
        """Let the current directory show nothing of the layers below."""


def link_target(node: Inode, name: bytes) -> bytes:
    """The target of a symbolic link; `NotADirectoryError` for anything else."""
    if node.kind != LINK:
        raise not_a_directory(name)
    return node.target


def _bad_path(parts: Parts, what: str) -> LayerError:
    return LayerError(f"the layer has a path over {what}: {shown(b'/'.join(parts))}")
