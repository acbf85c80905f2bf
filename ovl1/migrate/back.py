"""Taking a migration back, from whatever state it is in.

The data-root is then as it was, to the last modification time. What a daemon did under overlay2 in
between is given up, which therefore has to be asked for.
"""

from __future__ import annotations

from pathlib import Path

from ovl1.errors import HalfDone, Refused, listed
from ovl1.linux import locks
from ovl1.migrate import home, modes
from ovl1.migrate import journal as events
from ovl1.migrate.area import Area
from ovl1.migrate.journal import Journal
from ovl1.migrate.plan import EMPTY_HOME, IN_PLACE, Plan
from ovl1.migrate.trouble import explained
from ovl1.migrate.used import refuse_if_used
from ovl1.model import Progress, no_progress
from ovl1.store.discovery import discover

_ROLL_BACK = "Run `ovl1 migrate rollback`: it brings back the old store."


def rollback(
    data_root: Path, *, discard_new: bool = False, progress: Progress = no_progress
) -> None:
    """Take a migration back; durable and idempotent.

    Args:
        discard_new: also when Docker has made layers or removed containers under overlay2 since;
            not after a conversion in place, which has no old layers to go back to.

    Raises:
        Refused: there is nothing to take back, Docker uses the store, or it has made new layers
            or removed containers.
        HalfDone: a rename met something that must not be there; says what.
    """
    root = discover(data_root).path
    with locks.exclusive(root), explained(root):
        refuse_if_used(root)
        journal = home.opened(root)
        if journal.state == events.PURGING:
            raise Refused(
                "the old store is being deleted; there is no way back",
                resolution=journal.resolution,
            )
        plan = Plan.recorded(root, journal.plan)
        if plan.mode == IN_PLACE or not discard_new:
            _refuse_later_changes(plan)
        _undo(root, journal, progress)


def take_back(root: Path, journal: Journal, progress: Progress) -> None:
    """After a failure; what led here is raised again by the caller.

    Raises:
        HalfDone: that failed, too.
    """
    try:
        _undo(root, journal, progress)
    except KeyboardInterrupt as err:
        raise HalfDone("interrupted while taking it back", resolution=_ROLL_BACK) from err
    except Exception as err:
        raise HalfDone(
            f"the migration stopped, and could not be taken back: {err}", resolution=_ROLL_BACK
        ) from err


def _undo(root: Path, journal: Journal, progress: Progress) -> None:
    if journal.records and not journal.is_being_undone:
        journal.add(events.UNDOING)
    steps = modes.steps_of(Plan.recorded(root, journal.plan), progress)
    for number in journal.to_undo():
        steps[number].undo()
        # A step must not be undone again when others have used its names, or deleted what it made.
        journal.add(events.UNDONE, step=number)
    area = Area(root)
    home.clear(area)
    home.end(area, journal.plan.get("times", {}))


def _refuse_later_changes(plan: Plan) -> None:
    area = plan.area
    if not area.target.home.is_dir():
        return
    in_place = plan.mode == IN_PLACE
    gone = [key for key in plan.containers if not area.target.container_config(key).exists()]
    if gone:
        raise Refused(
            f"Docker has removed {len(gone)} container(s) since the migration",
            details=listed(gone),
            resolution="After a conversion in place there is no way back then."
            if in_place
            else "`ovl1 migrate rollback --discard-new` brings them back with what they held "
            "before the migration, but without their logs and settings of the host.",
        )
    present = {path.name for path in area.target.home.iterdir()}
    missing = [layer for layer in plan.layers if in_place and layer not in present]
    if missing:
        raise Refused(
            f"Docker has removed {len(missing)} layer(s) since the migration",
            details=listed(missing),
            resolution="After a conversion in place there is no way back then.",
        )
    new = sorted(present - {*plan.layers, *EMPTY_HOME})
    if new:
        raise Refused(
            f"Docker has made {len(new)} layer(s) since the migration, which would be lost",
            details=listed(new),
            resolution="Save what you need of them (docker save, docker export), and remove them "
            "with Docker; then run this again."
            if in_place
            else "Save what you need of them (docker save, docker export); then run "
            "`ovl1 migrate rollback --discard-new`.",
        )
