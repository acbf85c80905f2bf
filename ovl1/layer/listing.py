"""What a layer's own tar lists, as a tree: the recorded truth about what the layer changed.

Built from the names that tar-split keeps. A node says whether its path was an entry of the tar,
was whited out, or was made opaque; nodes that are none of these are only on the way to others.
Memory grows with the layer's entries, not with the image.
"""

from __future__ import annotations

from typing import Dict, Iterable, Optional, Tuple

from ovl1.formats import whiteouts


class Listed:
    """A path of the tar, with what is listed below it."""

    __slots__ = ("children", "is_entry", "opaque", "whiteout")

    def __init__(self) -> None:
        self.children: Dict[bytes, Listed] = {}
        self.is_entry = False
        self.opaque = False
        """The tar holds ``.wh..wh..opq`` in this directory."""
        self.whiteout = False
        """The tar holds ``.wh.NAME`` for this path, before or after the path itself."""

    def get(self, name: bytes) -> Optional[Listed]:
        """The node for `name` in this directory, if the tar knows it."""
        return self.children.get(name)

    def add(self, parts: Tuple[bytes, ...]) -> Listed:
        """The node at `parts`, made with its parents if need be."""
        node = self
        for part in parts:
            node = node.children.setdefault(part, Listed())
        return node


def listing(names: Iterable[bytes]) -> Listed:
    """The tree of the names of a layer's tar.

    Raises:
        LayerError: a name that must not be in a layer (see `ovl1.formats.whiteouts`).
    """
    root = Listed()
    for name in names:
        what = whiteouts.classify(name)
        if isinstance(what, whiteouts.Plain):
            root.add(what.parts).is_entry = True
        elif isinstance(what, whiteouts.Whiteout):
            root.add(what.parts).whiteout = True
        elif isinstance(what, whiteouts.Opaque):
            root.add(what.parts).opaque = True
    return root
