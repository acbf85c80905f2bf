"""What a layer's own tar lists, as a tree: the recorded truth about what the layer changed.

Built from the names that tar-split keeps. A node says whether its path was an entry of the tar,
was whited out, or was made opaque; nodes that are none of these are only on the way to others.
A tar need not be in the order of a tree, so the names are sorted first, in a temporary file if they
are many. Memory does not grow with them; but the tree can be walked only once, and in its order.
"""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, Optional, Sequence

from ovl1.closing import Closing
from ovl1.formats import whiteouts
from ovl1.linux.trail import in_common
from ovl1.sorter import Sorter

_ENTRY, _OPAQUE, _WHITEOUT = 1, 2, 4

# A record is the path of a directory, its parts set apart by the least of all bytes, which sorts
# whatever is below it right after it; after two of these a name there, after one what is said.
_BETWEEN, _AFTER = b"\0", b"\0\0"
_SAID = [b"\0%d" % said for said in range(_ENTRY + _OPAQUE + _WHITEOUT)]
_TAIL = len(_SAID[0])


class Listed:
    """A path of the tar, with what is listed below it."""

    __slots__ = ("_listing", "_place", "_said")

    def __init__(self, listing: Listing, place: bytes, said: int) -> None:
        self._listing, self._place, self._said = listing, place, said

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
        """By name, sorted, what the tar knows in this directory.

        To be asked of one path after the other, each directory before what is below it, names in
        their order; any may be left out.
        """
        place = self._place + _BETWEEN if self._place else b""
        return {
            name: Listed(self._listing, place + name, said)
            for name, said in self._listing.mentions(self._place).items()
        }


class Listing(Closing):
    """The tree of the names of a layer's tar; a context manager.

    Raises:
        LayerError: a name that must not be in a layer (see `ovl1.formats.whiteouts`).
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        self._sorter = Sorter()
        self._said_of_root = 0
        self._last_place: Optional[bytes] = None
        try:
            self._take(names)
        except BaseException:
            self.close()
            raise
        self._records = self._sorter.sorted()
        self._next = next(self._records, None)

    @property
    def root(self) -> Listed:
        """The layer's root directory."""
        return Listed(self, b"", self._said_of_root)

    def close(self) -> None:
        """Forget it; idempotent."""
        self._sorter.close()

    def mentions(self, place: bytes) -> Dict[bytes, int]:
        """What is said of the names in a directory, sorted; see `Listed.children`."""
        assert self._last_place is None or self._last_place < place, "not in the order of the tree"
        self._last_place = place
        prefix = place + _AFTER
        found: Dict[bytes, int] = {}
        for record in self._up_from(prefix):
            name = record[len(prefix) : -_TAIL]
            found[name] = found.get(name, 0) | int(record[-1:])
        return found

    def _up_from(self, prefix: bytes) -> Iterator[bytes]:
        """The records that begin so; those before them are left out."""
        while self._next is not None and self._next < prefix:
            self._next = next(self._records, None)
        while self._next is not None and self._next.startswith(prefix):
            yield self._next
            self._next = next(self._records, None)

    def _take(self, names: Iterable[bytes]) -> None:
        above: Sequence[bytes] = ()
        for name in names:
            what = whiteouts.classify(name)
            if isinstance(what, whiteouts.Plain):
                said = _ENTRY
            elif isinstance(what, whiteouts.Whiteout):
                said = _WHITEOUT
            elif isinstance(what, whiteouts.Opaque):
                said = _OPAQUE
            else:
                continue
            if not what.parts:
                self._said_of_root |= said
                continue
            self._say(what.parts, said)
            # Whoever comes to a directory must be told that there is something further below.
            if what.parts[:-1] != above:
                before, above = above, what.parts[:-1]
                for depth in range(in_common(before, above), len(above)):
                    self._say(above[: depth + 1], 0)

    def _say(self, parts: Sequence[bytes], said: int) -> None:
        self._sorter.add(_BETWEEN.join(parts[:-1]) + _AFTER + parts[-1] + _SAID[said])
