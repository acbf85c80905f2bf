"""The heaviest directory trees of all layers: the same path in every layer, taken together.

Each layer of ``overlay`` has all directories of the layers below it once more, so a path that no
layer changed still takes inodes in each of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, List, Mapping, Set

from ovl1.inodes.tally import Counts, Row, added

_ONE_CHILD = 3 / 4
"""A directory of which one sub-directory has this part says less than that one."""


@dataclass(frozen=True)
class PathUse:
    """What one path takes in all layers that have it."""

    path: str
    layers: int
    tree: Counts

    @property
    def inodes(self) -> int:
        """All of it."""
        return self.tree.inodes


class Paths:
    """Adds up what layers have at which path."""

    def __init__(self) -> None:
        self._own: Dict[bytes, Row] = {}
        """Of each path, without what belongs to a longer one."""
        self._layers: Dict[bytes, int] = {}

    def add(self, counted: Mapping[bytes, Row]) -> None:
        """Add one layer."""
        own, layers = self._own, self._layers
        for path, row in counted.items():
            mine = own.get(path)
            own[path] = row if mine is None else added(mine, row)
            layers[path] = layers.get(path, 0) + 1

    def heaviest(self, number: int) -> List[PathUse]:
        """The paths that take the most inodes, and which no single one below them explains."""
        whole = self._rolled_up()
        explained: Set[bytes] = set()
        for path, counts in whole.items():
            above = _above(path)
            if path and counts.inodes > _ONE_CHILD * whole[above].inodes:
                explained.add(above)
        chosen = [path for path in whole if path and path not in explained]
        chosen.sort(key=lambda path: (-whole[path].inodes, path))
        return [
            PathUse(os.fsdecode(path), self._layers.get(path, 0), whole[path])
            for path in chosen[:number]
        ]

    def _rolled_up(self) -> Dict[bytes, Counts]:
        whole = {path: Counts(*row) for path, row in self._own.items()}
        for path in sorted(whole, key=lambda path: -path.count(b"/")):
            if path:
                above = _above(path)
                whole[above] = whole.get(above, Counts()) + whole[path]
        return whole


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
