"""The plan: what will be made, what will be changed, what it takes; frozen before anything happens.

`ovl1 migrate plan` prints the very object that `run` executes. Making it reads the store and
nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ovl1.driver.convert import Conversion, conversions
from ovl1.migrate.area import Area
from ovl1.migrate.steps import Move, Step, SwitchDriver
from ovl1.model import ContainerId
from ovl1.store.layout import LINKS, OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store

_EMPTY_HOME = {LINKS, "backingFsBlockDev"}
"""What Docker makes in a new ``overlay2/``; the device node is for quotas."""


@dataclass(frozen=True)
class Plan:
    """A migration, decided."""

    data_root: Path
    layers: Tuple[Conversion, ...]
    containers: Tuple[ContainerId, ...]
    """Those whose configuration names the overlay driver."""
    keep_directory_times: bool
    left: Tuple[str, ...]
    """What is not converted, in words."""
    aside: Tuple[str, ...] = ()
    """Directories of an empty overlay2 store that is in the way, below the data-root."""

    @property
    def area(self) -> Area:
        """Where the migration keeps its things."""
        return Area(self.data_root)

    @property
    def steps(self) -> List[Step]:
        """The changes that put the new store into place, in order.

        The new driver's directory comes before the old one goes: in between a daemon refuses to
        choose ("contains several valid graphdrivers"). Without either it would silently begin
        an empty store.
        """
        area = self.area
        switches: List[Step] = [
            SwitchDriver(
                area.source.container_config(container), area.config(container), OVERLAY, OVERLAY2
            )
            for container in self.containers
        ]
        return [
            *(Move(area.data_root / name, area.aside.data_root / name) for name in self.aside),
            Move(area.staged.image, area.target.image),
            *switches,
            Move(area.staged.home, area.target.home),
            Move(area.source.home, area.old.home),
            Move(area.source.image, area.old.image),
        ]

    def record(self) -> Dict[str, Any]:
        """What the journal must keep to finish or undo it."""
        return {
            "containers": list(self.containers),
            "layers": [conversion.layer_id for conversion in self.layers],
            "keep_directory_times": self.keep_directory_times,
            "aside": list(self.aside),
        }


def make_plan(store: Store, *, keep_directory_times: bool = True) -> Plan:
    """Decide how to convert `store`.

    Raises:
        BrokenStore: something that it must be made from is missing.
    """
    layers = tuple(conversions(store))
    converted = {conversion.layer_id for conversion in layers}
    left = [
        f"{tree.name}: nothing refers to it ({tree.reason or tree.kind})"
        for tree in store.trees.values()
        if tree.name not in converted
    ]
    left += [
        f"container {container.name or key[:12]}: belongs to driver {container.driver or 'aufs'}"
        for key, container in store.foreign_containers.items()
    ]
    return Plan(
        data_root=store.layout.data_root,
        layers=layers,
        containers=tuple(sorted(store.containers)),
        keep_directory_times=keep_directory_times,
        left=tuple(left),
        aside=_in_the_way(Area(store.layout.data_root).target),
    )


def _in_the_way(target: Layout) -> Tuple[str, ...]:
    """The directories of an overlay2 store without layers and images; none if it has some.

    Docker 24 and later make such a store beside an overlay one, which they do not see.
    """
    places = [path for path in (target.home, target.image) if os.path.lexists(path)]
    holding = (target.links, target.layers, target.mounts, target.image_configs)
    full = any(path.is_dir() and any(path.iterdir()) for path in holding)
    if full or any(not path.is_dir() or path.is_symlink() for path in places):
        return ()
    if target.home in places and {path.name for path in target.home.iterdir()} - _EMPTY_HOME:
        return ()
    return tuple(str(path.relative_to(target.data_root)) for path in places)
