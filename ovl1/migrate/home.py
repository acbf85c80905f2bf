"""The directory of a migration's own things: begun with the journal, ended with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List

from ovl1.errors import BrokenStore, Refused
from ovl1.linux import durable
from ovl1.migrate import journal as events
from ovl1.migrate.area import Area
from ovl1.migrate.journal import Journal
from ovl1.migrate.plan import IN_PLACE, Plan
from ovl1.tree.remove import remove_path

Times = Dict[str, List[int]]
"""Access and modification times (ns) of directories, by their paths below the data-root."""


def begin(plan: Plan, steps: int) -> Journal:
    """Make the directory and the journal, with the plan in it; durable.

    Args:
        steps: how many there are.
    """
    area = plan.area
    times = _times(plan)
    journal = Journal(area.journal)
    try:
        area.home.mkdir(0o700)
        journal.add(
            events.PLANNED, version=events.VERSION, times=times, steps=steps, **plan.record()
        )
    except BaseException:
        if area.home.is_dir():
            end(area, times)
        raise
    return journal


def furnish(plan: Plan) -> None:
    """Make the directories that steps move things into; idempotent."""
    area = plan.area
    area.configs.mkdir(0o700, exist_ok=True)
    for name in plan.aside:
        (area.aside.data_root / name).parent.mkdir(0o700, parents=True, exist_ok=True)


def opened(root: Path) -> Journal:
    """The journal of the migration of `root`.

    Raises:
        Refused: there is none in progress.
        BrokenStore: it is missing, or damaged.
    """
    journal = Journal.read(Area(root).journal)
    if journal is None:
        raise Refused(
            f"there is no migration in {root}",
            resolution="`ovl1 migrate plan` shows what one would do, `ovl1 migrate run` does it.",
        )
    home = journal.path.parent
    if journal.state == events.EMPTY and set(os.listdir(home)) - {journal.path.name}:
        raise BrokenStore(
            f"the journal of the migration is missing in {home}",
            details="Without it nobody can tell which of the stores is whole.",
            resolution="Restore it from a backup, and do not start Docker on this data-root.",
        )
    return journal


def clear(area: Area) -> int:
    """Delete what the migration has of its own, all but the journal.

    Returns:
        How many names were deleted.
    """
    own = [path for path in area.home.iterdir() if path != area.journal]
    removed = sum(map(remove_path, own))
    durable.sync_file_system(area.data_root)
    return removed


def end(area: Area, times: Times) -> None:
    """Delete the journal, which tells what is going on, and its directory, now empty; durable.

    The data-root keeps its own times, unless the process is killed between the last two changes.

    Args:
        times: to be given back to directories that still exist.
    """
    for path, (atime, mtime) in times.items():
        if (area.data_root / path).is_dir():
            os.utime(area.data_root / path, ns=(atime, mtime))
    durable.sync_file_system(area.data_root)
    status = area.data_root.stat()
    remove_path(area.journal)
    try:
        if area.home.is_dir():
            area.home.rmdir()
    finally:
        os.utime(area.data_root, ns=(status.st_atime_ns, status.st_mtime_ns))
    durable.sync_file_system(area.data_root)


def _times(plan: Plan) -> Times:
    """Times of the directories whose entries a migration changes, to be given back by rollback."""
    area = plan.area
    paths = [area.data_root]
    if plan.source_root is None:
        paths += [area.source.image.parent]
        paths += [area.source.container(container) for container in plan.containers]
    if plan.mode == IN_PLACE:
        paths += [area.source.home]
    return {
        str(path.relative_to(area.data_root)): [path.stat().st_atime_ns, path.stat().st_mtime_ns]
        for path in paths
    }
