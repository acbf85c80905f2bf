"""A whole data-root, scanned on all processors.

Two processes share each place, so both have something to do until the end, and what one of them
remembers of a layer helps it with its share of the layers above; when one of them falls behind, the
next layers are shared in another way. More than two are several such teams, to which the places are
handed out in their order: all of a team read the upper directories of a tree, whoever counts them.
`ovl1.inodes.tally` puts together what they say. Every file system has scanners of its own: equal
inode numbers mean the same inode within one only.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ovl1.inodes.found import HIDDEN, Found, missed
from ovl1.inodes.links import Linked, most_linked
from ovl1.inodes.merge import merged
from ovl1.inodes.scan import Scanner, Share, present
from ovl1.linux.beneath import Directory
from ovl1.linux.claims import Claims
from ovl1.linux.workers import in_teams, processors

_TEAM = 2


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
    kin: bytes = b""
    """Places with the same word, if any, are expected to have much alike."""


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
        workers = workers or processors()
        with contextlib.ExitStack() as stack:
            claims, size = _claims(workers, stack)

            def look(place: Place, team: int, turn: int) -> _Part:
                kin = b"%d %b" % (turn, place.kin or b"/".join(place.parts))
                return self._look(place, Share(claims[team], kin) if claims else None)

            found = in_teams(look, places, workers=workers, size=size)
            for parts, place in zip(found, places):
                yield self._together(place, parts)

    def _look(self, place: Place, share: Optional[Share]) -> _Part:
        try:
            directory = self._root.descend(place.parts)
        except OSError as error:
            return _Part(self._device, _missed(error, place.parts, share), {})
        with directory:
            device = directory.stat().st_dev
            part = _Part(device, Found(), {})
            if device != self._device and not place.anywhere:
                if share is None or share.has_top:
                    part.around.segments.append(HIDDEN)
                return part._replace(device=self._device)
            scanner = self._scanner(device)
            scanner.scan(directory, part.around, without=place.trees | place.without, share=share)
            _place_below(part.around, place.parts)
            for name in place.trees.intersection(part.around.skipped):
                part.trees[name] = self._tree(scanner, directory, (*place.parts, name), share)
        return part

    def _tree(
        self, scanner: Scanner, layer: Directory, parts: Sequence[bytes], share: Optional[Share]
    ) -> Found:
        try:
            tree = layer.child(parts[-1])
        except OSError as error:
            return _missed(error, parts, share)
        with tree:
            found = Found()
            scanner.scan(tree, found, depth=self._depth, like=parts[-1], share=share)
        _place_below(found, parts)
        return found

    def _together(self, place: Place, parts: Sequence[_Part]) -> Seen:
        trees: List[Found] = []
        linked: List[Linked] = []
        for name in sorted({name for part in parts for name in part.trees}):
            found = merged([part.trees[name] for part in parts if name in part.trees])
            trees.append(found)
            where = (*place.parts, name)
            # It was there a moment ago: if it is gone, it is not what fills the file system.
            with contextlib.suppress(OSError), self._root.descend(where) as tree:
                linked += most_linked(tree, found, b"/".join(where))
        return Seen(place, parts[0].device, merged([part.around for part in parts]), trees, linked)

    def _scanner(self, device: int) -> Scanner:
        if device not in self._scanners:
            self._scanners[device] = Scanner(blocks=self._blocks, since=self._since)
        return self._scanners[device]


class _Part(NamedTuple):
    """What one process found at a place."""

    device: int
    around: Found
    trees: Dict[bytes, Found]


def _claims(workers: int, stack: contextlib.ExitStack) -> Tuple[List[Claims], int]:
    """For each team, and how many a team are; without claims everybody works alone."""
    if workers < 2:
        return [], 1
    try:
        return [stack.enter_context(Claims()) for _ in range(0, workers, _TEAM)], _TEAM
    except OSError:
        return [], 1


def _missed(error: OSError, parts: Sequence[bytes], share: Optional[Share]) -> Found:
    found = missed(error, b"/".join(parts))
    if share is None or share.has_top:
        return found
    return Found(moving=found.moving)


def _place_below(found: Found, parts: Sequence[bytes]) -> None:
    found.unreadable = [b"/".join((*parts, path)) for path in found.unreadable]
