"""What a layer's own tar lists, as a tree: the recorded truth about what the layer changed.

Built from the names that tar-split keeps. A node says whether its path was an entry of the tar,
was whited out, or was made opaque; nodes that are none of these are only on the way to others.
Memory grows with the layer's entries, not with the image: what is listed in a directory is a
string of bytes there, and nodes are made of it when the directory is looked into.
"""

from __future__ import annotations

from typing import Dict, Iterable

from ovl1.formats import whiteouts
from ovl1.formats.whiteouts import Parts

_ENTRY, _OPAQUE, _WHITEOUT = 1, 2, 4
_END = b"\0"


class Listed:
    """A path of the tar, with what is listed below it."""

    __slots__ = ("_below", "_mentioned", "_said")

    def __init__(self, said: int = 0) -> None:
        self._said = said
        self._below: Dict[bytes, Listed] = {}
        """The directories of those in which anything is listed."""
        self._mentioned = bytearray()
        """For each time that the tar says something of a path right here: that, the name, NUL."""

    @property
    def is_entry(self) -> bool:
        """The tar has this path itself."""
        return bool(self._said & _ENTRY)

    @property
    def opaque(self) -> bool:
        """The tar holds ``.wh..wh..opq`` in this directory."""
        return bool(self._said & _OPAQUE)

    @property
    def whiteout(self) -> bool:
        """The tar holds ``.wh.NAME`` for this path, before or after the path itself."""
        return bool(self._said & _WHITEOUT)

    def children(self) -> Dict[bytes, Listed]:
        """By name, what the tar knows in this directory; made anew with each call."""
        said = dict.fromkeys(self._below, 0)
        for mention in self._mentioned.split(_END)[:-1]:
            name = bytes(mention[1:])
            said[name] = said.get(name, 0) | mention[0]
        found = {}
        for name, what in said.items():
            node = self._below.get(name)
            if node is not None:
                node._said = what
            found[name] = node or _LEAVES[what]
        return found

    def say(self, parts: Parts, what: int) -> None:
        """Note what the tar says of the path at `parts`."""
        if not parts:
            self._said |= what
            return
        node = self
        for part in parts[:-1]:
            below = node._below.get(part)
            if below is None:
                below = node._below[part] = Listed()
            node = below
        node._mentioned += b"%c%b\0" % (what, parts[-1])


# Most paths are files: of these it matters only what the tar says of them.
_LEAVES = [Listed(said) for said in range(2 * _WHITEOUT)]


def listing(names: Iterable[bytes]) -> Listed:
    """The tree of the names of a layer's tar.

    Raises:
        LayerError: a name that must not be in a layer (see `ovl1.formats.whiteouts`).
    """
    root = Listed()
    for name in names:
        what = whiteouts.classify(name)
        if isinstance(what, whiteouts.Plain):
            root.say(what.parts, _ENTRY)
        elif isinstance(what, whiteouts.Whiteout):
            root.say(what.parts, _WHITEOUT)
        elif isinstance(what, whiteouts.Opaque):
            root.say(what.parts, _OPAQUE)
    return root
