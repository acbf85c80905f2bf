"""A place in a tree in memory, reached by names as a process chrooted into the tree reaches it.

The way that names lead, and what is refused, are those of `ovl1.layer.chrooted`.
"""

from __future__ import annotations

from typing import List, Sequence

from ovl1.formats.whiteouts import Parts
from ovl1.inodes.nodes import Dir, Inode, Node, Tally
from ovl1.layer.chrooted import Chrooted, not_a_directory
from ovl1.linux.beneath import LINK


class Place(Chrooted):
    """A current place in a layer that is being made.

    Args:
        root: where it begins; of this layer's own version.
        tally: of that tree; kept up.
    """

    def __init__(self, root: Dir, tally: Tally) -> None:
        super().__init__()
        self.root, self.tally = root, tally
        self.layer = tally.layer
        self._way: List[bytes] = []
        self._dirs = [root]

    @property
    def here(self) -> Dir:
        """The directory at the current place."""
        return self._dirs[-1]

    def reach(self, parts: Parts, *, imply: bool = True) -> None:
        """Move to the directory that `parts` leads to.

        Raises:
            LayerError: the way leads over what is no directory, or over links to nothing.
            FileNotFoundError, NotADirectoryError: without `imply`.
        """
        self._go(parts, imply=imply)

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

    @property
    def _names(self) -> Sequence[bytes]:
        return self._way

    def _version(self, above: Dir, name: bytes, node: Dir) -> Dir:
        made = node.version(self.layer)
        above.entries[name] = made
        return made

    def _down(self, name: bytes, node: Dir) -> None:
        below = self._version(self.here, name, node)
        self._way.append(name)
        self._dirs.append(below)

    def _up_to(self, depth: int) -> None:
        del self._way[depth:], self._dirs[depth + 1 :]

    def _imply(self, name: bytes) -> None:
        made = Dir(self.layer)
        self.put(name, made)
        self._down(name, made)


def link_target(node: Inode, name: bytes) -> bytes:
    """The target of a symbolic link; `NotADirectoryError` for anything else."""
    if node.kind != LINK:
        raise not_a_directory(name)
    return node.target
