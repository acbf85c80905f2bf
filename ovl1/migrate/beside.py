"""Side by side: the new store is made beside the old one, which is only read, and renamed aside.

Until `purge` nothing of the old store is deleted, so taking a migration back costs nothing.
Docker is kept away from the first step to the last: see `ovl1.store.barrier`.
"""

from __future__ import annotations

from typing import List

from ovl1.migrate.daemon import daemon_steps
from ovl1.migrate.making import CopyMetadata, MakeHome, layer_steps
from ovl1.migrate.plan import Plan
from ovl1.migrate.prove import Prove
from ovl1.migrate.source import Source
from ovl1.migrate.squash.steps import MakeBases, NameImages
from ovl1.migrate.steps import Bar, Move, NobodyElse, Step, Swap, SwitchDriver, Unbar
from ovl1.model import Progress
from ovl1.store.layout import OVERLAY, OVERLAY2


def steps(plan: Plan, progress: Progress) -> List[Step]:
    """What `plan` does, in order.

    The containers' configurations come before the new store: a daemon that finds a store must
    find everything.
    """
    area = plan.area
    source = Source(plan)
    return [
        *(Move(area.data_root / name, area.aside.data_root / name) for name in plan.aside),
        Bar(area.target.home),
        Bar(area.old.home),
        Swap(area.source.home, area.old.home),
        NobodyElse(area.data_root),
        Move(area.source.image, area.old.image),
        MakeHome(area, progress),
        *([MakeBases(source, progress)] if plan.squash else []),
        *layer_steps(source, plan, progress),
        CopyMetadata(source),
        *([Prove(source, plan, progress)] if plan.verify else []),
        Move(area.staged.image, area.target.image),
        *(
            SwitchDriver(
                area.source.container_config(container), area.config(container), OVERLAY, OVERLAY2
            )
            for container in plan.containers
        ),
        *([NameImages(source, plan, area.source)] if plan.squash else []),
        *daemon_steps(plan),
        Swap(area.staged.home, area.target.home),
        Unbar(area.source.home),
    ]
