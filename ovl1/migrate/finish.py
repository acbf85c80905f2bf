"""After a migration: proving it once more, deleting the old store, and telling how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

from ovl1.driver.convert import Conversion
from ovl1.errors import Refused
from ovl1.linux import locks
from ovl1.migrate import certificate, home
from ovl1.migrate import journal as events
from ovl1.migrate.area import Area
from ovl1.migrate.deleting import delete_layers
from ovl1.migrate.journal import Journal
from ovl1.migrate.plan import IN_PLACE, Plan
from ovl1.migrate.prove_there import verify_there
from ovl1.migrate.source import Source
from ovl1.migrate.trouble import explained
from ovl1.migrate.verify import Verification, verify_stores
from ovl1.model import Progress, no_progress
from ovl1.store.discovery import discover
from ovl1.store.store import Store
from ovl1.tree.remove import remove_path


@dataclass(frozen=True)
class Status:
    """How a migration stands."""

    state: str
    """An event of `ovl1.migrate.journal`; empty if there is no migration."""
    words: str
    resolution: str
    """What can be done now."""
    done: int
    """Steps."""
    steps: int


def verify(
    data_root: Path,
    progress: Progress = no_progress,
    *,
    quick: bool = False,
    kept: Optional[Path] = None,
) -> Verification:
    """Prove the store that is in place against the old one, which must not be purged yet.

    Leaves a certificate if it passed, in full. The migration need not be purgeable afterwards: see
    `Verification.passed`.

    Args:
        quick: structure and metadata only; that takes the place of no proof.
        kept: where else to write the certificate, also that of a quick proof.

    Raises:
        Refused: there is no finished migration here.
    """
    root = discover(data_root).path
    with locks.exclusive(root), explained(root):
        journal = _finished(root)
        plan = Plan.recorded(root, journal.plan)
        area = plan.area
        proved = _proof(plan, progress, quick=quick)
        found = proved.found
        if found.passed and not quick:
            values = certificate.write(area.certificate, root, *proved)
            journal.add(events.VERIFIED, certificate=values["certificate"])
        if found.passed and kept is not None:
            certificate.write(kept, root, *proved)
        return found


def keep_certificate(data_root: Path, target: Path) -> None:
    """Copy the certificate of a finished migration to where a purge does not delete it; durable.

    Raises:
        Refused: there is none.
    """
    area = Area(discover(data_root).path)
    if not area.certificate.exists():
        raise Refused(
            f"there is no certificate in {area.home}",
            resolution="`ovl1 migrate verify` proves the new store, and writes one.",
        )
    certificate.copy(area.certificate, target)


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
    with locks.exclusive(root), explained(root):
        journal = home.opened(root)
        area = Area(root)
        if journal.state == events.EMPTY:
            home.end(area, {})
            return 0
        if journal.state != events.PURGING:
            _finished(root)
            if not unverified:
                _refuse_unverified(journal, area)
            journal.add(events.PURGING)
        removed = remove_path(area.old.image)
        removed += delete_layers(area.old, "deleting the old layers", progress)
        plan = Plan.recorded(root, journal.plan)
        if plan.mode == IN_PLACE:
            removed += sum(remove_path(area.target.lower_id(layer)) for layer in plan.layers)
        removed += home.clear(area)
        home.end(area, {})
        return removed


def status(data_root: Path) -> Status:
    """How the migration of `data_root` stands; changes nothing."""
    journal = Journal.read(Area(discover(data_root).path).journal)
    if journal is None:
        return Status("", "No migration is in progress.", "", 0, 0)
    return Status(
        journal.state,
        journal.words,
        journal.resolution,
        len(journal.done()),
        int(journal.plan.get("steps", 0)),
    )


class _Proved(NamedTuple):
    """What was converted, and what can be said about it now."""

    layers: Tuple[Conversion, ...]
    found: Verification
    squashed: Optional[Dict[str, Any]] = None


def _proof(plan: Plan, progress: Progress, *, quick: bool) -> _Proved:
    area = plan.area
    if plan.mode == IN_PLACE:
        return _Proved(plan.conversions, verify_there(area.target, plan, progress, quick=quick))
    source = Source(plan)
    found = verify_stores(
        source.store,
        Store.of(area.target),
        source.conversions,
        keep_directory_times=plan.keep_directory_times,
        quick=quick,
        progress=progress,
    )
    renewed = source.renewed
    return _Proved(source.conversions, found, renewed.told() if renewed else None)


def _finished(root: Path) -> Journal:
    journal = home.opened(root)
    if not journal.is_switched:
        raise Refused(f"the migration was {journal.words}", resolution=journal.resolution)
    return journal


def _refuse_unverified(journal: Journal, area: Area) -> None:
    if not journal.certificate:
        brief = "the new store has not been verified in full, so the old one is not deleted"
    elif not certificate.holds(area.certificate, journal.certificate):
        brief = f"{area.certificate} is missing or was changed, so the old store is not deleted"
    else:
        return
    raise Refused(brief, resolution="Run `ovl1 migrate verify` first.")
