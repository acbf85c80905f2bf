"""What a migration needs of the file system while it runs, against what there is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from ovl1.driver.convert import Conversion
from ovl1.driver.cost import Cost, cost_of
from ovl1.errors import NotPossibleHere
from ovl1.migrate.plan import ELSEWHERE, IN_PLACE, SIDE_BY_SIDE, Plan
from ovl1.model import Progress, no_progress
from ovl1.store.store import Store

NO_LIMIT = 1 << 62
"""Inodes of a file system that makes them as it needs them."""


class Room(NamedTuple):
    """Inodes and bytes."""

    inodes: int
    bytes: int

    def plus(self, other: Room) -> Room:
        """The sum."""
        return Room(self.inodes + other.inodes, self.bytes + other.bytes)


_SPARE = Room(100, 16 << 20)
"""What there must be left over; a conversion in place needs no more than that."""


@dataclass(frozen=True)
class Demand:
    """What one mode of migration needs, against what there is."""

    mode: str
    need: Room
    free: Room
    cost: Cost
    """Of the new store alone."""

    @property
    def fits(self) -> bool:
        """Whether there is enough of both."""
        return self.need.inodes <= self.free.inodes and self.need.bytes <= self.free.bytes

    def refuse_unfit(self) -> None:
        """Refuse what will not fit.

        Raises:
            NotPossibleHere: inodes or space are missing; says how much is needed.
        """
        _refuse_unfit(self.mode, self.need, self.free)


def check(
    store: Store,
    conversions: Sequence[Conversion],
    plan: Plan,
    progress: Progress = no_progress,
) -> None:
    """Refuse what will not fit.

    Raises:
        NotPossibleHere: inodes or space are missing; says how much is needed.
    """
    place = _place(plan)
    free = free_in(place)
    if plan.mode == IN_PLACE:
        _refuse_unfit(plan.mode, _SPARE, free)
    elif plan.source_root is not None or not _is_plenty(place, free):
        demand(store, conversions, plan, progress).refuse_unfit()


def demands(
    store: Store,
    conversions: Sequence[Conversion],
    plan: Plan,
    progress: Progress = no_progress,
) -> List[Demand]:
    """What each mode needs that could be chosen, the one to be preferred first.

    Another data-root is only known if it is that of `plan`; nothing is squashed in place. Walks
    the whole store.

    Raises:
        BrokenStore, LayerError: a layer cannot be converted; says why.
    """
    root = plan.source_root or plan.data_root
    beside = replace(plan, mode=SIDE_BY_SIDE, data_root=root, source_root=None, rest=())
    found = [demand(store, conversions, beside, progress)]
    if plan.mode == ELSEWHERE:
        found.append(demand(store, conversions, plan, progress))
    if plan.squash:
        return found
    return [*found, replace(found[0], mode=IN_PLACE, need=_SPARE)]


def recommended(found: Sequence[Demand]) -> Optional[str]:
    """The first mode that fits; None if none does."""
    return next((demand.mode for demand in found if demand.fits), None)


def demand(
    store: Store,
    conversions: Sequence[Conversion],
    plan: Plan,
    progress: Progress = no_progress,
) -> Demand:
    """What the plan takes at most, with some to spare; walks the whole store.

    Raises:
        BrokenStore, LayerError: a layer cannot be converted; says why.
    """
    cost = cost_of(
        store,
        conversions,
        keep_directory_times=plan.keep_directory_times,
        copies=plan.source_root is not None,
        progress=progress,
    )
    block = os.statvfs(store.layout.data_root).f_frsize
    # A directory takes at least a block.
    new = Room(cost.new_inodes, cost.built.copied_bytes + cost.new_inodes * block)
    need = new.plus(_taken(store.layout.image)).plus(_SPARE)
    for name in plan.rest:
        need = need.plus(_taken(store.layout.data_root / name))
    return Demand(plan.mode, need, free_in(_place(plan)), cost)


def _refuse_unfit(mode: str, need: Room, free: Room) -> None:
    other = "" if mode == IN_PLACE else "`--in-place` needs next to none, "
    if need.inodes > free.inodes:
        raise NotPossibleHere(
            f"{need.inodes} free inodes are needed, {free.inodes} are left",
            resolution=f"{other}`--to DIR` takes those of another disk. Or remove what is no "
            "longer needed; `ovl1 inodes report` shows what has the most.",
        )
    if need.bytes > free.bytes:
        raise NotPossibleHere(
            f"{need.bytes} free bytes are needed, {free.bytes} are left",
            resolution=f"{other}`--to DIR` takes those of another disk. Or free some space.",
        )


def _place(plan: Plan) -> Path:
    return plan.data_root if plan.data_root.is_dir() else plan.data_root.parent


def free_in(place: Path) -> Room:
    """What root may still use there; a file system without a count of inodes has no end of them."""
    system = os.statvfs(place)
    inodes = system.f_ffree if system.f_files else NO_LIMIT
    return Room(inodes, system.f_bavail * system.f_frsize)


def _is_plenty(place: Path, free: Room) -> bool:
    """Whether there is as much as all that is there takes now: then there is nothing to count."""
    system = os.statvfs(place)
    used_inodes = system.f_files - system.f_ffree
    return free.inodes > used_inodes and free.bytes > (
        (system.f_blocks - system.f_bfree) * system.f_frsize
    )


def _taken(path: Path) -> Room:
    """An upper limit: a file that has several names counts for each."""
    status = path.lstat()
    taken = Room(1, status.st_blocks * 512)
    if path.is_dir() and not path.is_symlink():
        for entry in os.scandir(path):
            taken = taken.plus(_taken(Path(entry.path)))
    return taken
