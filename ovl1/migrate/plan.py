"""The plan: what will be made, what will be changed, what it takes; frozen before anything happens.

`ovl1 migrate plan` prints the very object that `run` executes. Making it reads the store and
nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ovl1.driver.convert import Conversion, conversions
from ovl1.migrate.area import Area
from ovl1.migrate.steps import Move, Step, SwitchDriver
from ovl1.model import ContainerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.store import Store


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
    )
