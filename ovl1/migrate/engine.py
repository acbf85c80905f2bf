"""Running a migration, proving it, taking it back, finishing it.

`run` makes the new layers beside the old ones under `.ovl1/new`, proves them, and only then puts
them into place by renames; until `purge` nothing of the old store is deleted, and `rollback` leaves
the data-root as it was, to the last modification time. One migration at a time, held by a lock on
the data-root and by the journal.

Limits: a daemon must be kept away until `run` or `rollback` has returned; what a daemon did under
overlay2 in between is given up by `rollback`, which therefore asks first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ovl1.errors import BrokenStore, CheckFailed, HalfDone, Refused
from ovl1.layer.build import Built
from ovl1.linux import durable, locks
from ovl1.linux.beneath import Directory
from ovl1.migrate import journal as events
from ovl1.migrate import preflight
from ovl1.migrate.area import Area
from ovl1.migrate.journal import Journal
from ovl1.migrate.make import make_store
from ovl1.migrate.plan import Plan, make_plan
from ovl1.migrate.verify import Verification, verify_stores
from ovl1.model import ContainerId, Progress, no_progress
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY
from ovl1.store.store import Store
from ovl1.tree.remove import remove_tree

_ROLL_BACK = "Run `ovl1 migrate rollback`: it brings back the old store."


@dataclass(frozen=True)
class Outcome:
    """What `run` has done."""

    plan: Plan
    built: Built
    verification: Optional[Verification]


def prepare(data_root: Path, *, keep_directory_times: bool = True) -> Tuple[Store, Plan]:
    """Read the store and decide what to do; changes nothing.

    Raises:
        Refused: something forbids a migration; says what, and what to do.
    """
    root = discover(data_root).path
    preflight.refuse_if_in_progress(root, Area(root).journal)
    store = Store.open(root, OVERLAY)
    preflight.check_store(store)
    return store, make_plan(store, keep_directory_times=keep_directory_times)


def run(
    data_root: Path,
    *,
    keep_directory_times: bool = True,
    verify: bool = True,
    progress: Progress = no_progress,
) -> Outcome:
    """Migrate the store; durable when it returns.

    Raises:
        Refused, NotPossibleHere: nothing was changed.
        CheckFailed: the new layers do not show what the old ones do; nothing was changed.
        HalfDone: it stopped while changing the data-root, and could not take that back.
    """
    root = discover(data_root).path
    with locks.exclusive(root):
        preflight.refuse_if_used(root)
        store, plan = prepare(root, keep_directory_times=keep_directory_times)
        preflight.check_plan(store, plan)
        times = _times(plan)
        journal = Journal(plan.area.journal)
        try:
            _open_area(plan, journal, times)
            preflight.check_abilities(plan.area.staged.data_root)
            built = make_store(store, plan, progress)
            durable.sync_file_system(root)
            journal.add(events.BUILT)
            verification = _verify_staged(store, plan, progress) if verify else None
            _switch(plan, journal)
            journal.add(events.SWITCHED)
            if verification is not None:
                journal.add(events.VERIFIED)
        except BaseException:  # Ctrl-C, too.
            _take_back(root, journal, times, progress)
            raise
        return Outcome(plan, built, verification)


def verify(data_root: Path, progress: Progress = no_progress) -> Verification:
    """Prove the store that is in place against the old one, which must not be purged yet.

    Raises:
        Refused: there is no finished migration here.
    """
    root = discover(data_root).path
    with locks.exclusive(root):
        journal = _journal(root)
        if not journal.is_switched:
            raise Refused(f"the migration was {journal.words}", resolution=_ROLL_BACK)
        area = Area(root)
        old, new = Store.of(area.old), Store.of(area.target)
        keep = bool(journal.plan["keep_directory_times"])
        plan = make_plan(old, keep_directory_times=keep)
        result = verify_stores(old, new, plan.layers, keep_directory_times=keep, progress=progress)
        if result.passed:
            journal.add(events.VERIFIED)
        return result


def rollback(
    data_root: Path, *, discard_new: bool = False, progress: Progress = no_progress
) -> None:
    """Take a migration back, from whatever state it is in; durable and idempotent.

    Args:
        discard_new: also when Docker has made layers or removed containers under overlay2 since.

    Raises:
        Refused: there is nothing to take back, Docker uses the store, or it has made new layers
            or removed containers.
        HalfDone: a rename met something that must not be there; says what.
    """
    root = discover(data_root).path
    with locks.exclusive(root):
        preflight.refuse_if_used(root)
        journal = _journal(root)
        if journal.state == events.PURGING:
            raise Refused(
                "the old store is being deleted; there is no way back",
                resolution="Run `ovl1 migrate purge` to finish it.",
            )
        if not discard_new:
            _refuse_later_changes(Area(root), journal)
        _undo(root, journal, journal.plan.get("times", {}), progress)


def purge(data_root: Path, *, unverified: bool = False, progress: Progress = no_progress) -> int:
    """Delete the old store; from then on there is no way back. Idempotent.

    Args:
        unverified: also when nothing has proved the new store.

    Returns:
        How many names were deleted.

    Raises:
        Refused: the migration is not finished, or not verified.
    """
    root = discover(data_root).path
    with locks.exclusive(root):
        journal = _journal(root)
        area = Area(root)
        if journal.state == events.EMPTY:
            _remove_home(area)
            return 0
        if journal.state != events.PURGING:
            if not journal.is_switched:
                raise Refused(f"the migration was {journal.words}", resolution=_ROLL_BACK)
            if not (journal.has(events.VERIFIED) or unverified):
                raise Refused(
                    "the new store has not been verified, so the old one is not deleted",
                    resolution="Run `ovl1 migrate verify` first.",
                )
            journal.add(events.PURGING)
        progress("deleting the old store", 0, 2)
        removed = _remove(area.old.image)
        progress("deleting the old store", 1, 2)
        removed += _remove(area.old.home) + _remove_new(area)
        _remove_home(area)
        progress("deleting the old store", 2, 2)
        return removed


def status(data_root: Path) -> str:
    """In which state a migration is, in words; empty if there is none."""
    journal = Journal.read(Area(discover(data_root).path).journal)
    return journal.words if journal is not None else ""


def _journal(root: Path) -> Journal:
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


def _times(plan: Plan) -> Dict[str, List[int]]:
    """Times of the directories whose entries a migration changes, to be given back by rollback."""
    area = plan.area
    paths = [area.data_root, area.source.image.parent]
    paths += [area.source.container(container) for container in plan.containers]
    return {
        str(path.relative_to(area.data_root)): [path.stat().st_atime_ns, path.stat().st_mtime_ns]
        for path in paths
    }


def _open_area(plan: Plan, journal: Journal, times: Dict[str, List[int]]) -> None:
    plan.area.home.mkdir(0o700)
    journal.add(events.PLANNED, version=events.VERSION, times=times, **plan.record())
    plan.area.configs.mkdir(0o700)
    plan.area.staged.data_root.mkdir(0o700)
    for name in plan.aside:
        (plan.area.aside.data_root / name).parent.mkdir(0o700, parents=True, exist_ok=True)


def _verify_staged(store: Store, plan: Plan, progress: Progress) -> Verification:
    result = verify_stores(
        store,
        Store.of(plan.area.staged),
        plan.layers,
        keep_directory_times=plan.keep_directory_times,
        progress=progress,
    )
    if not result.passed:
        raise CheckFailed(
            "the new layers do not show what the old ones do; nothing was changed",
            details="\n".join(result.differences[:20]),
            resolution="This is a fault of ovl1: please report it with these lines.",
        )
    return result


def _switch(plan: Plan, journal: Journal) -> None:
    for number, step in enumerate(plan.steps):
        journal.add(events.BEGUN, step=number, what=step.what)
        step.do()
        journal.add(events.DONE, step=number)


def _take_back(
    root: Path, journal: Journal, times: Dict[str, List[int]], progress: Progress
) -> None:
    """After a failure within `run`; what led here is raised again by the caller."""
    if not Area(root).home.is_dir():
        return
    try:
        _undo(root, journal, times, progress)
    except KeyboardInterrupt as err:
        raise HalfDone("interrupted while taking it back", resolution=_ROLL_BACK) from err
    except Exception as err:
        raise HalfDone(
            f"the migration stopped, and could not be taken back: {err}", resolution=_ROLL_BACK
        ) from err


def _undo(root: Path, journal: Journal, times: Dict[str, List[int]], progress: Progress) -> None:
    area = Area(root)
    plan = Plan(
        data_root=root,
        layers=(),
        containers=tuple(ContainerId.parse(text) for text in journal.plan.get("containers", ())),
        keep_directory_times=True,
        left=(),
        aside=tuple(journal.plan.get("aside", ())),
    )
    if journal.records and not journal.has(events.UNDOING):
        journal.add(events.UNDOING)
    for number in journal.to_undo():
        plan.steps[number].undo()
        # A step must not be undone again when others have used its names, or deleted what it made.
        journal.add(events.UNDONE, step=number)
    progress("deleting the new layers", 0, 1)
    _remove_new(area)
    progress("deleting the new layers", 1, 1)
    for path, (atime, mtime) in times.items():
        if (root / path).is_dir():
            os.utime(root / path, ns=(atime, mtime))
    _remove_home(area)


def _refuse_later_changes(area: Area, journal: Journal) -> None:
    if not journal.is_switched:
        return
    containers = map(ContainerId.parse, journal.plan["containers"])
    gone = [key for key in containers if not area.source.container_config(key).exists()]
    if gone:
        raise Refused(
            f"Docker has removed {len(gone)} container(s) since the migration",
            details="\n".join(gone[:10]),
            resolution="`ovl1 migrate rollback --discard-new` brings them back with what they held "
            "before the migration, but without their logs and settings of the host.",
        )
    known = {*journal.plan["layers"], "l"}
    new = sorted(path.name for path in area.target.home.iterdir() if path.name not in known)
    if new:
        raise Refused(
            f"Docker has made {len(new)} layer(s) since the migration, which would be lost",
            details="\n".join(new[:10]),
            resolution="Save what you need of them (docker save, docker export); then run "
            "`ovl1 migrate rollback --discard-new`.",
        )


def _remove_new(area: Area) -> int:
    """Delete what the migration has of its own, all but the journal."""
    removed = sum(map(_remove, (area.staged.data_root, area.configs, area.aside.data_root)))
    durable.sync_file_system(area.data_root)
    return removed


def _remove_home(area: Area) -> None:
    """Delete the journal, which tells what is going on, and its directory, now empty.

    The data-root keeps its own times, unless the process is killed between the last two changes.
    """
    times = area.data_root.stat()
    _remove(area.journal)
    if area.home.is_dir():
        area.home.rmdir()
    os.utime(area.data_root, ns=(times.st_atime_ns, times.st_mtime_ns))
    durable.sync_file_system(area.data_root)


def _remove(path: Path) -> int:
    if not os.path.lexists(path):
        return 0
    with Directory.open(path.parent) as parent:
        return remove_tree(parent, os.fsencode(path.name))
