"""In place: the layers themselves become overlay2's, one after the other, children first.

For a disk without free inodes, or with little space. What each conversion frees is more than the
next one needs, and no content is ever written; see `ovl1.migrate.inplace`. The way back makes the
old trees again from their parents' and the layers' records. Limits: what Docker has changed since
cannot be given up on that way; `verify` holds only until a container has run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from ovl1.driver.convert import Conversion
from ovl1.linux import durable
from ovl1.linux.workers import in_parallel
from ovl1.migrate import preflight
from ovl1.migrate.area import Area
from ovl1.migrate.daemon import daemon_steps
from ovl1.migrate.inplace.convert import convert, undo
from ovl1.migrate.inplace.decide import decide
from ovl1.migrate.inplace.record import Record
from ovl1.migrate.make import root_pair
from ovl1.migrate.plan import Plan
from ovl1.migrate.prove_there import ProveThere, TakeDigests, digests_of
from ovl1.migrate.source import Source
from ovl1.migrate.steps import Bar, Move, NobodyElse, Result, Step, Swap, SwitchDriver, Unbar
from ovl1.model import Progress
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.tree.remove import remove_path

_AHEAD = 8
"""Layers that are decided at a time: each takes an inode for its record before any is freed."""


def steps(plan: Plan, progress: Progress) -> List[Step]:
    """What `plan` does, in order."""
    area, source = plan.area, Source(plan)
    children_first = plan.conversions[::-1]
    return [
        *(Move(area.data_root / name, area.aside.data_root / name) for name in plan.aside),
        Bar(area.target.home),
        Bar(area.old.home),
        Swap(area.source.home, area.old.home),
        NobodyElse(area.data_root),
        Move(area.source.image, area.old.image),
        MakePlaces(area),
        TakeDigests(source, plan, progress),
        *(
            Convert(source, children_first[number : number + _AHEAD], number, plan, progress)
            for number in range(len(children_first))
        ),
        Move(area.old.home, area.staged.home),
        Move(area.old.image, area.staged.image),
        *([ProveThere(plan, progress)] if plan.verify else []),
        Move(area.staged.image, area.target.image),
        *(
            SwitchDriver(
                area.source.container_config(container), area.config(container), OVERLAY, OVERLAY2
            )
            for container in plan.containers
        ),
        *daemon_steps(plan),
        Swap(area.staged.home, area.target.home),
        Unbar(area.source.home),
    ]


@dataclass(frozen=True)
class MakePlaces:
    """The directories that a conversion in place needs, and overlay2's ``l/``."""

    area: Area

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"make {self.area.layers} and {self.area.old.links}"

    def do(self) -> Result:
        """See `Step`."""
        area = self.area
        area.staged.image.parent.mkdir(0o700, parents=True, exist_ok=True)
        preflight.check_abilities(area.staged.data_root)
        for path in (area.layers, area.old.links):
            path.mkdir(0o700, exist_ok=True)
        durable.sync_file_system(area.home)
        return None

    def undo(self) -> None:
        """See `Step`."""
        for path in (self.area.old.links, self.area.layers, self.area.staged.data_root):
            remove_path(path)


@dataclass(frozen=True)
class Convert:
    """One layer, which must have no unconverted children.

    What becomes of it is decided together with those that come next: nothing that is done to a
    layer changes what the others are or stand on.
    """

    source: Source
    next: Tuple[Conversion, ...]
    """The layer, and some of those after it."""
    number: int
    plan: Plan
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"convert layer {self.next[0].layer_id}"

    def do(self) -> Result:
        """See `Step`."""
        area, layers = self.plan.area, self.next
        self.progress("converting layers", self.number, len(self.plan.layers))
        if (area.layers / layers[0].layer_id).exists():
            layers = layers[:1]
        store, digests = self.source.store, digests_of(area)

        def decided(layer: Conversion) -> Record:
            return decide(
                store,
                layer,
                area.layers,
                keep_directory_times=self.plan.keep_directory_times,
                digest=digests[layer.layer_id],
            )

        record, *_ = in_parallel(decided, layers)
        convert(area.old, record, root_pair(area.source))
        self.progress("converting layers", self.number + 1, len(self.plan.layers))
        return None

    def undo(self) -> None:
        """See `Step`."""
        self.progress("bringing back layers", 0, 1)
        undo(self.plan.area.old, self.plan.area.layers, self.next[0].layer_id)
        self.progress("bringing back layers", 1, 1)
