"""The two kinds of trees that a layer's tar is unpacked to, in memory: see `ovl1.inodes.model`.

`RootModel` is `ovl1.layer.apply_root`, and what Docker's overlay and vfs drivers make;
`DiffModel` is `ovl1.layer.apply_diff`; `DockerDiff` is what Docker's overlay2 makes, which looks at
no other layer (moby pkg/archive ``Unpack`` and ``overlayWhiteoutConverter``).
"""

from __future__ import annotations

import errno
import os
from typing import Dict, List, Optional

from ovl1.errors import LayerError
from ovl1.formats import whiteouts
from ovl1.formats.whiteouts import shown
from ovl1.inodes.model import Model
from ovl1.inodes.nodes import WHITEOUT, Dir, Inode, Node, Tally, is_hidden
from ovl1.inodes.place import link_target
from ovl1.layer.chrooted import not_there


class RootModel(Model):
    """A complete tree: what the layers below have is in it already."""

    def white_out(self, name: bytes) -> None:
        """See `Model.white_out`."""
        self.drop(self.here, name)

    def bring(self, name: bytes) -> None:
        """See `Model.bring`."""

    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        node = self.here.entries.get(name)
        if isinstance(node, Dir):
            self._down(name, node)
            return None
        if node is not None:
            return link_target(node, name)
        if not imply:
            raise not_there(name)
        self._imply(name)
        return None

    def _make(self, name: bytes) -> None:
        node = self.here.entries.get(name)
        if isinstance(node, Dir):
            self._down(name, node)
            return
        self.drop(self.here, name)
        self._imply(name)

    def _hide_lower(self) -> None:
        """There is nothing but the tree."""


class DiffModel(Model):
    """An overlay directory over a tree: what it does not have shows through."""

    def __init__(self, lower: Optional[Dir], tally: Tally) -> None:
        root = Dir(tally.layer)
        super().__init__(root, tally, docker=False)
        self._lowers: List[Optional[Dir]] = [lower]
        """For each directory on the way, the one below that merges with it."""

    def white_out(self, name: bytes) -> None:
        """See `Model.white_out`."""
        self.drop(self.here, name)
        if self._lowers[-1] is not None:
            self.put(name, Inode(WHITEOUT, self.layer))

    def bring(self, name: bytes) -> None:
        """See `Model.bring`."""
        node = self.here.entries.get(name)
        if node is not None:
            if is_hidden(node):
                raise not_there(name)
            return
        found = self._below(name)
        if found is None:
            raise not_there(name)
        if isinstance(found, Dir):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(name))
        self.put(name, Inode(found.kind, self.layer, found.about, found.target, found.xattrs))

    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        node = self.here.entries.get(name)
        if isinstance(node, Dir):
            self._down(name, node)
            return None
        if node is None:
            self._enter_below(name, imply=imply)
            return None
        if not is_hidden(node):
            return link_target(node, name)
        if not imply:
            raise not_there(name)
        self.drop(self.here, name)
        self._imply(name)
        self._separate()
        return None

    def _enter_below(self, name: bytes, *, imply: bool) -> None:
        found = self._below(name)
        if isinstance(found, Inode):
            link_target(found, name)
        if not imply and not isinstance(found, Dir):
            raise not_there(name)
        self._imply(name)

    def _make(self, name: bytes) -> None:
        node = self.here.entries.get(name)
        if isinstance(node, Dir):
            self._down(name, node)
            return
        self.drop(self.here, name)
        self._imply(name)
        if node is not None:
            self._separate()

    def _hide_lower(self) -> None:
        lower = self._lowers[-1]
        if self._names:
            self.here.opaque = True
            self._lowers[-1] = None
            return
        for name, found in lower.entries.items() if lower is not None else ():
            node = self.here.entries.get(name)
            if node is None:
                self.white_out(name)
            elif isinstance(found, Dir) and isinstance(node, Dir):
                node.opaque = True

    def _down(self, name: bytes, node: Dir) -> None:
        found = self._below(name)
        super()._down(name, node)
        self._lowers.append(found if isinstance(found, Dir) and not self.here.opaque else None)

    def _up_to(self, depth: int) -> None:
        super()._up_to(depth)
        del self._lowers[depth + 1 :]

    def _separate(self) -> None:
        if self._lowers[-1] is not None:
            self.here.opaque = True
            self._lowers[-1] = None

    def _below(self, name: bytes) -> Optional[Node]:
        lower = self._lowers[-1]
        return None if lower is None else lower.entries.get(name)


class DockerDiff(RootModel):
    """An overlay directory as Docker's overlay2 driver unpacks it."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(Dir(tally.layer), tally, docker=True)

    def white_out(self, name: bytes) -> None:
        """See `Model.white_out`; mknod(2) replaces nothing."""
        if name in self.here.entries:
            raise LayerError(f"the layer has a whiteout for what it holds: {shown(name)}")
        self.put(name, Inode(WHITEOUT, self.layer))

    def opaque(self, parts: whiteouts.Parts) -> None:
        """See `Place.opaque`: nothing but an attribute is set."""
        self.reach(parts)
        self.here.opaque = True

    def _meaning(self, name: bytes) -> whiteouts.Meaning:
        parts = whiteouts.components(name)
        last = parts[-1] if parts else b""
        if last == whiteouts.OPAQUE:
            return whiteouts.Opaque(parts[:-1])
        if last.startswith(whiteouts.PREFIX):
            return whiteouts.Whiteout((*parts[:-1], last[len(whiteouts.PREFIX) :]))
        return whiteouts.Plain(parts)


def merged(lower: Optional[Dir], diff: Dir, layer: int, *, keep_whiteouts: bool = False) -> Dir:
    """What an overlay directory shows over a tree; what is not in it is the tree's own version.

    Args:
        keep_whiteouts: let them stay, as in an upper directory that two are made one of.
    """
    made = Dir(layer)
    # The kernel merges the roots whatever they say.
    pending = [(made, lower, diff)]
    while pending:
        here, below, above = pending.pop()
        entries: Dict[bytes, Node] = {} if below is None else dict(below.entries)
        here.entries = entries
        here.opaque = above.opaque or (below is not None and below.opaque)
        for name, node in above.entries.items():
            if isinstance(node, Dir):
                found = None if node.opaque else entries.get(name)
                entries[name] = under = Dir(layer)
                under.born = node.born if not isinstance(found, Dir) else found.born
                pending.append((under, found if isinstance(found, Dir) else None, node))
            elif is_hidden(node) and not keep_whiteouts:
                entries.pop(name, None)
            else:
                entries[name] = node
    return made
