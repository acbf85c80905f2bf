"""What a store's containers take in each layout: their own layers, by what they have changed.

Limits: they are as if stopped, and as if mounted in every layout if they were in the store's. In an
overlay store the container's layer begins as a copy of its init layer, so what it would be as
overlay2 is not told here: see `ovl1.driver.cost`.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from ovl1.driver.overlay2 import driver_inodes
from ovl1.errors import BrokenStore
from ovl1.inodes.layouts import RootModel, merged
from ovl1.inodes.lineage import (
    DOCKER_OVERLAY,
    IDEAL,
    OVERLAY,
    OVERLAY2,
    VFS,
    Lineages,
    in_full,
)
from ovl1.inodes.nodes import Dir, Tally
from ovl1.inodes.upper import put_over, read_upper
from ovl1.linux.beneath import Directory
from ovl1.model import LayerId
from ovl1.store import layout as names
from ovl1.store.mounts import MountRecord
from ovl1.store.store import Store

_OF_UPPER = 4
"""A layer of the overlay driver over another one: its directory, upper, work and lower-id."""
_OF_ROOT = 2
"""One that stands on nothing: its directory, and root."""
_FIRST = 1 << 40
"""Numbers of these layers, above those of the images'."""

Upper = Tuple[Dir, Tally]


class Taken(NamedTuple):
    """Inodes of a container's layers in one layout."""

    trees: int
    driver: int = 0
    """Around them."""


class Containers:
    """Foretells one container after the other.

    Args:
        lines: the store's image layers, by their headers; as overlay and as vfs at least.
    """

    def __init__(self, store: Store, lines: Lineages) -> None:
        self._store = store
        self._lines = lines
        self._layer = _FIRST

    def taken(self, mount: MountRecord) -> Dict[str, Taken]:
        """What the layers of a container take, by layout.

        Raises:
            BrokenStore: one of its layers is missing.
            OSError: one of its directories cannot be read.
        """
        layers = [layer_id for layer_id in (mount.init_id, mount.mount_id) if layer_id is not None]
        uppers = [self._upper(layer_id) for layer_id in layers]
        # In overlay, what the init layer has is in the container's own as well.
        own = uppers[-1:] if self._store.layout.driver == names.OVERLAY else uppers
        one_upper = self._as_one_upper(mount, layers, uppers)
        return {
            OVERLAY: one_upper,
            DOCKER_OVERLAY: one_upper,
            OVERLAY2: self._as_diffs(mount, layers, uppers),
            VFS: Taken(sum(map(in_full, self._as_trees(mount, uppers, VFS)))),
            IDEAL: Taken(
                sum(
                    tally.born_directories + tally.born
                    for tally in self._as_trees(mount, own, OVERLAY)
                )
            ),
        }

    def _upper(self, layer_id: LayerId) -> Upper:
        self._layer += 1
        tree = self._store.trees.get(layer_id)
        if tree is None:
            raise BrokenStore(f"layer {layer_id.short} of a container is missing")
        with Directory.open(tree.paths(self._store.layout)[0]) as top:
            return read_upper(top, self._layer)

    def _as_one_upper(
        self, mount: MountRecord, layers: List[LayerId], uppers: List[Upper]
    ) -> Taken:
        """The overlay driver has one upper directory: a container's begins as its init's copy."""
        below: Optional[Dir] = None
        inodes = driver = 0
        for number, (upper, _) in enumerate(uppers):
            whole = upper
            if below is not None:
                whole = merged(below, upper, upper.layer, keep_whiteouts=True)
            on_nothing = mount.parent is None and number == 0
            below = None if on_nothing else whole
            driver += _OF_ROOT if on_nothing else _OF_UPPER + self._was_mounted(layers[number])
            inodes += _below(whole)
        return Taken(inodes, driver)

    def _as_diffs(self, mount: MountRecord, layers: List[LayerId], uppers: List[Upper]) -> Taken:
        driver = 0
        for number, layer_id in enumerate(layers):
            has_lowers = mount.parent is not None or number > 0
            driver += driver_inodes(has_lowers=has_lowers, has_children=layer_id != layers[-1])
            driver += self._was_mounted(layer_id)
        return Taken(sum(tally.directories + tally.born for _, tally in uppers), driver)

    def _was_mounted(self, layer_id: LayerId) -> bool:
        """The kernel then leaves a directory in ``work``."""
        return (self._store.layout.work(layer_id) / "work").is_dir()

    def _as_trees(self, mount: MountRecord, uppers: List[Upper], layout: str) -> List[Tally]:
        """Complete trees: one for each of a container's layers."""
        version = self._lines.tree(layout, mount.parent) if mount.parent is not None else None
        tree = version.tree if version is not None else None
        tally = version.tally if version is not None else None
        made = []
        for upper, _ in uppers:
            if tree is None or tally is None:
                root, now = Dir(upper.layer), Tally(upper.layer)
                now.add(root)
            else:
                root, now = tree.version(upper.layer), tally.next(upper.layer)
            model = RootModel(root, now, docker=False)
            put_over(model, upper)
            tree, tally = model.root, now
            made.append(now)
        return made


def _below(tree: Dir) -> int:
    """Inodes below a directory."""
    found: Set[int] = set()
    directories = 0
    pending = [tree]
    while pending:
        for node in pending.pop().entries.values():
            if isinstance(node, Dir):
                directories += 1
                pending.append(node)
            else:
                found.add(id(node))
    return directories + len(found)
