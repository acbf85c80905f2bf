"""A whole data-root, scanned on all processors.

The directories are handed out in their order, so that each process meets parents before children;
`ovl1.inodes.tally` puts together what they say. Every file system has scanners of its own: equal
inode numbers mean the same inode within one only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ovl1.inodes.found import HIDDEN, Found, missed
from ovl1.inodes.links import Linked, most_linked
from ovl1.inodes.scan import Scanner, present
from ovl1.linux.beneath import Directory
from ovl1.linux.workers import in_parallel


@dataclass(frozen=True)
class Place:
    """A directory to scan."""

    parts: Tuple[bytes, ...]
    """Below the data-root."""
    trees: FrozenSet[bytes] = frozenset()
    """Sub-directories that are counted apart: what a layer holds."""
    without: FrozenSet[bytes] = frozenset()
    """Sub-directories that are left out."""
    anywhere: bool = False
    """Whether it may lie on another file system than the data-root."""


class Seen(NamedTuple):
    """What a place was found to hold."""

    place: Place
    device: int
    around: Found
    """All but the trees."""
    trees: List[Found]
    linked: List[Linked]


class Sweep:
    """Looks at one place after the other; what it remembers is each process's own."""

    def __init__(self, root: Directory, *, depth: int = 0, blocks: bool = False) -> None:
        """Args:
        depth: how many levels of directories in trees get figures of their own.
        blocks: whether to look at each inode for how many blocks it has.
        """
        self._root = root
        self._device = root.stat().st_dev
        self._depth = depth
        self._blocks = blocks
        self._since = present()
        self._scanners: Dict[int, Scanner] = {}

    def run(self, places: Sequence[Place], workers: Optional[int] = None) -> Iterator[Seen]:
        """What each place holds, in their order.

        Raises:
            OSError: but for what is missing, may not be read, or is damaged.
        """
        return in_parallel(self._look, places, workers=workers)

    def _look(self, place: Place) -> Seen:
        try:
            directory = self._root.descend(place.parts)
        except OSError as error:
            return Seen(place, self._device, missed(error, b"/".join(place.parts)), [], [])
        with directory:
            device = directory.stat().st_dev
            seen = Seen(place, device, Found(), [], [])
            if device != self._device and not place.anywhere:
                seen.around.segments.append(HIDDEN)
                return seen._replace(device=self._device)
            scanner = self._scanner(device)
            scanner.scan(directory, seen.around, without=place.trees | place.without)
            _place_below(seen.around, place.parts)
            for name in sorted(place.trees.intersection(seen.around.skipped)):
                self._add_tree(scanner, directory, name, seen)
        return seen

    def _add_tree(self, scanner: Scanner, layer: Directory, name: bytes, seen: Seen) -> None:
        parts = (*seen.place.parts, name)
        try:
            tree = layer.child(name)
        except OSError as error:
            seen.trees.append(missed(error, b"/".join(parts)))
            return
        with tree:
            found = Found()
            scanner.scan(tree, found, depth=self._depth, like=name)
            linked = most_linked(tree, found, b"/".join(parts))
            seen.linked.extend(linked)
        # They were for finding the most linked ones only.
        found.origins.clear()
        found.again.clear()
        _place_below(found, parts)
        seen.trees.append(found)

    def _scanner(self, device: int) -> Scanner:
        if device not in self._scanners:
            self._scanners[device] = Scanner(blocks=self._blocks, since=self._since)
        return self._scanners[device]


def _place_below(found: Found, parts: Sequence[bytes]) -> None:
    found.unreadable = [b"/".join((*parts, path)) for path in found.unreadable]
