"""What a migration needs of the file system while it runs, against what there is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Sequence

from ovl1.driver.convert import Conversion
from ovl1.driver.cost import cost_of
from ovl1.errors import NotPossibleHere
from ovl1.migrate.plan import IN_PLACE, Plan
from ovl1.store.store import Store

_SPARE = (100, 16 << 20)


class Room(NamedTuple):
    """Inodes and bytes."""

    inodes: int
    bytes: int

    def plus(self, other: Room) -> Room:
        """The sum."""
        return Room(self.inodes + other.inodes, self.bytes + other.bytes)


def check(store: Store, conversions: Sequence[Conversion], plan: Plan) -> None:
    """Refuse what will not fit.

    Raises:
        NotPossibleHere: inodes or space are missing; says how much is needed.
    """
    place = plan.data_root if plan.data_root.is_dir() else plan.data_root.parent
    free = free_in(place)
    if plan.source_root is None and _is_plenty(place, free):
        return
    need = needed(store, conversions, plan)
    if need.inodes > free.inodes:
        raise NotPossibleHere(
            f"{need.inodes} free inodes are needed, {free.inodes} are left",
            resolution="`--in-place` needs next to none, `--to DIR` takes another disk's. Or "
            "remove what is no longer needed; `ovl1 inodes report` shows what has the most.",
        )
    if need.bytes > free.bytes:
        raise NotPossibleHere(
            f"{need.bytes} free bytes are needed, {free.bytes} are left",
            resolution="Free some space on the file system.",
        )


def needed(store: Store, conversions: Sequence[Conversion], plan: Plan) -> Room:
    """What the plan takes at most, with some to spare; walks the whole store.

    Raises:
        BrokenStore, LayerError: a layer cannot be converted; says why.
    """
    if plan.mode == IN_PLACE:
        return Room(*_SPARE)
    cost = cost_of(
        store,
        conversions,
        keep_directory_times=plan.keep_directory_times,
        copies=plan.source_root is not None,
    )
    block = os.statvfs(store.layout.data_root).f_frsize
    # A directory takes at least a block.
    new = Room(cost.new_inodes, cost.built.copied_bytes + cost.new_inodes * block)
    need = new.plus(_taken(store.layout.image)).plus(Room(*_SPARE))
    for name in plan.rest:
        need = need.plus(_taken(store.layout.data_root / name))
    return need


def free_in(place: Path) -> Room:
    """What root may still use there; a file system without a count of inodes has no end of them."""
    system = os.statvfs(place)
    inodes = system.f_ffree if system.f_files else 1 << 62
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
