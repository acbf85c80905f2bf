"""Trees in memory, of which one version per layer is kept: names, and which inode each has.

A layer's version shares with its parent's every directory in which nothing has happened, so memory
grows with the first tree and with the changes, and versions may branch. Contents are not here.
"""

from __future__ import annotations

import stat
from typing import Dict, List, Optional, Set, Tuple, Union

from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, FILE, LINK, Directory
from ovl1.tree.view import Parts, StackView

WHITEOUT = "whiteout"

About = Tuple[int, int, int, int]
"""Owner, group, permissions, modification time in nanoseconds."""


class Inode:
    """Anything but a directory."""

    __slots__ = ("about", "kind", "layer", "names", "target", "xattrs")

    def __init__(
        self,
        kind: str,
        layer: int,
        about: About = (0, 0, 0, 0),
        target: bytes = b"",
        xattrs: Optional[Dict[str, bytes]] = None,
    ) -> None:
        self.kind = kind
        self.layer = layer
        """Which layer made it."""
        self.names = 0
        """How many it has in the layer that made it."""
        self.about = about
        self.target = target
        self.xattrs = xattrs


class Dir:
    """A directory as one layer has it."""

    __slots__ = ("born", "entries", "layer", "opaque", "own")

    def __init__(self, layer: int) -> None:
        self.entries: Dict[bytes, Node] = {}
        self.born = layer
        """Which layer made it; those above it only have another version."""
        self.layer = layer
        """Whose version it is: other layers must not change it."""
        self.own: Set[bytes] = set()
        """The names that this layer's tar has put here, itself."""
        self.opaque = False
        """In an overlay directory: whether it hides what is below it."""

    def version(self, layer: int) -> Dir:
        """This directory for `layer` to change: itself, if it is that layer's already."""
        if self.layer == layer:
            return self
        made = Dir(layer)
        made.born = self.born
        made.entries = dict(self.entries)
        return made


Node = Union[Dir, Inode]


def is_hidden(node: Optional[Node]) -> bool:
    """Whether it is a whiteout."""
    return isinstance(node, Inode) and node.kind == WHITEOUT


class Tally:
    """What a tree holds, kept up while it changes; `next` begins the one of a layer above."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.directories = 0
        self.born_directories = 0
        """Of these, those that this layer made."""
        self.born = 0
        """Inodes that this layer made; directories are not among them."""
        self.born_files = 0
        """Of these, the regular files."""
        self.files = 0
        """Regular files of the tree, each once, whichever layer made them."""
        self.others = 0
        """Names of symbolic links and special files."""
        self.further = 0
        """Of these, names of inodes that this layer made, beyond each one's first."""
        self._links: Dict[Inode, int] = {}
        """How many names a regular file has, if more than one."""

    def next(self, layer: int) -> Tally:
        """The tally of a layer above that has changed nothing yet."""
        made = Tally(layer)
        made.directories, made.files, made.others = self.directories, self.files, self.others
        made._links = dict(self._links)
        return made

    def add(self, node: Node) -> None:
        """A name that leads to `node` has been made; a directory is empty then."""
        if isinstance(node, Dir):
            self.directories += 1
            self.born_directories += node.born == self.layer
            return
        mine = node.layer == self.layer
        node.names += mine
        first = mine and node.names == 1
        self.born += first
        if node.kind != FILE:
            self.others += 1
            self.further += mine and not first
            return
        self.born_files += first
        if first:
            self.files += 1
        else:
            self._links[node] = self._links.get(node, 1) + 1

    def remove(self, node: Node) -> None:
        """A name that led to `node` is gone, and so is all below a directory."""
        pending: List[Node] = [node]
        while pending:
            gone = pending.pop()
            if isinstance(gone, Dir):
                self.directories -= 1
                self.born_directories -= gone.born == self.layer
                pending.extend(gone.entries.values())
            else:
                self._remove_name(gone)

    def _remove_name(self, node: Inode) -> None:
        mine = node.layer == self.layer
        node.names -= mine
        last = mine and not node.names
        self.born -= last
        if node.kind != FILE:
            self.others -= 1
            self.further -= mine and not last
            return
        self.born_files -= last
        left = self._links.pop(node, 1) - 1
        if not left:
            self.files -= 1
        elif left > 1:
            self._links[node] = left


def read_tree(view: StackView, layer: int) -> Tuple[Dir, Tally]:
    """The tree that a view of layers on the disk shows.

    Raises:
        LayerError, OSError: it cannot be read.
    """
    root, tally = Dir(layer), Tally(layer)
    tally.add(root)
    inodes: Dict[int, Inode] = {}
    found_at: Dict[Parts, Dir] = {(): root}
    for parts, merged in view.walk():
        here = found_at.pop(parts)
        for name, found in merged.entries.items():
            node: Node
            if found.kind == DIR:
                node = found_at[(*parts, name)] = Dir(layer)
            elif found.inode in inodes:
                node = inodes[found.inode]
            else:
                node = _read_inode(merged.layer_of(found), name, found.kind, layer)
                inodes[found.inode] = node
            here.entries[name] = node
            tally.add(node)
    return root, tally


def _read_inode(directory: Directory, name: bytes, kind: str, layer: int) -> Inode:
    status = directory.lstat(name)
    about = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_mtime_ns
    target = directory.readlink(name) if kind == LINK else b""
    return Inode(kind, layer, about, target, xattrs.read_at(directory.fd, name) or None)
