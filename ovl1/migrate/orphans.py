"""Parents for layer trees that nothing refers to any more, so that they can be converted, too.

Docker made each ``root`` of links to the files of the layer below. So the tree that has most of an
orphan's files as the same inodes under the same names, and least of its own, is the one that it
was made from, or a better one: what the layer takes has then the fewest names, and whatever is
below, it shows what the orphan showed.
Limit: all names of the orphans are in memory at once, as one number each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ovl1.driver.convert import Conversion
from ovl1.driver.overlay2 import MAX_LOWERS
from ovl1.linux.beneath import DIR, FILE, Directory
from ovl1.linux.trail import Trail
from ovl1.model import LayerId, Progress, no_progress
from ovl1.store.store import Store
from ovl1.store.trees import IMAGE, READ_WRITE

Parents = Dict[LayerId, Optional[LayerId]]
"""By orphan, each after its parent; None for one that stands alone."""


def find_parents(
    store: Store, known: Sequence[Conversion], progress: Progress = no_progress
) -> Parents:
    """What each orphan is to stand on; reads the names of all complete trees, changes nothing.

    One that has changes only (``upper``) names its layer below itself; it is left out if that is
    not converted.

    Args:
        known: what is converted in any case.

    Raises:
        OSError: a tree cannot be read.
    """
    orphans = [tree for tree in store.orphans() if not tree.is_buildkit]
    depths = {conversion.layer_id: len(conversion.lowers) for conversion in known}
    whole = [tree.layer_id for tree in orphans if tree.kind == IMAGE]
    parents = _arranged(store, whole, depths, progress) if whole else {}
    for tree in orphans:
        below = depths.get(tree.lower) if tree.lower is not None else None
        if tree.kind == READ_WRITE and below is not None and below < MAX_LOWERS:
            parents[tree.layer_id] = tree.lower
    return parents


class _Way(NamedTuple):
    """Of making an orphan a layer over some tree; the least is the best."""

    names: int
    """Those that only one of the two trees has."""
    depth: int
    parent: str
    """Empty if there is none."""


def _arranged(
    store: Store, orphans: Sequence[LayerId], depths: Dict[LayerId, int], progress: Progress
) -> Parents:
    """Each orphan in turn, the one that differs least from what is there already (Prim).

    Of two that differ as much, the older one: either could stand on the other.

    Args:
        depths: how many layers are below each one that is there; the orphans are added.
    """
    trees = [*(layer for layer in depths if store.trees[layer].kind == IMAGE), *orphans]
    common = _Common(store, trees, orphans, progress)
    best = {orphan: _Way(common.sizes[orphan], 0, "") for orphan in orphans}
    ages = {orphan: store.layout.layer(orphan).stat().st_mtime_ns for orphan in orphans}
    parents: Parents = {}

    def offer(below: LayerId) -> None:
        for orphan in best if depths[below] < MAX_LOWERS else ():
            names = common.difference(below, orphan)
            if names is not None:
                best[orphan] = min(best[orphan], _Way(names, depths[below] + 1, below))

    for tree in trees[: -len(orphans)]:
        offer(tree)
    while best:
        orphan = min(best, key=lambda each: (best[each].names, ages[each], each))
        way = best.pop(orphan)
        parents[orphan] = LayerId(way.parent) if way.parent else None
        depths[orphan] = way.depth
        offer(orphan)
    return parents


class _Common:
    """What trees have in common with orphans."""

    def __init__(
        self,
        store: Store,
        trees: Sequence[LayerId],
        orphans: Sequence[LayerId],
        progress: Progress,
    ) -> None:
        self.sizes: Dict[LayerId, int] = {}
        """How many names each tree has."""
        self._names: Dict[Tuple[LayerId, LayerId], int] = {}
        self._linked: Set[Tuple[LayerId, LayerId]] = set()
        owners: Dict[int, List[LayerId]] = {}
        for orphan in orphans:
            for mark, _ in _marks(store.layout.root(orphan)):
                owners.setdefault(mark, []).append(orphan)
        for number, tree in enumerate(trees):
            progress("looking for parents", number, len(trees))
            self.sizes[tree] = 0
            for mark, is_file in _marks(store.layout.root(tree)):
                self.sizes[tree] += 1
                for orphan in owners.get(mark, ()):
                    pair = tree, orphan
                    self._names[pair] = self._names.get(pair, 0) + 1
                    if is_file:
                        self._linked.add(pair)
        progress("looking for parents", len(trees), len(trees))

    def difference(self, tree: LayerId, orphan: LayerId) -> Optional[int]:
        """How many names only one of both has; None if they share no file's inode."""
        pair = tree, orphan
        if pair not in self._linked:
            return None
        return self.sizes[tree] + self.sizes[orphan] - 2 * self._names[pair]


def _marks(root: Path) -> Iterator[Tuple[int, bool]]:
    """A number for each path with the kind of what is there, and the inode if it is a file.

    Docker makes links and special files anew in each layer. Also yields whether it is a file.
    """
    pending: List[Tuple[int, bytes, int]] = []
    with Directory.open(root) as top, Trail(top) as trail:
        here, above = trail.at(0), 0
        while True:
            depth = len(trail.parts)
            for name, inode, kind in here.names():
                mark = hash((above, name, inode if kind == FILE else kind))
                yield mark, kind == FILE
                if kind == DIR:
                    pending.append((depth, name, mark))
            if not pending:
                return
            depth, name, above = pending.pop()
            here = trail.enter(depth, name)
