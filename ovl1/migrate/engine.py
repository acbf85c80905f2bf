"""Running a migration, and going on with one that was stopped.

What is to be done is written down before the first change, each step before and after it was done;
so a migration that was killed at any moment can be finished (`resume`) or taken back
(`ovl1.migrate.back`), and who is killed at that can do it again. One at a time, held by a lock on
the data-root and by the journal; Docker is kept away from the first step to the last.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from ovl1.driver.convert import Conversion, conversions
from ovl1.errors import HalfDone, Refused
from ovl1.layer.build import Built
from ovl1.linux import durable, locks
from ovl1.migrate import back, daemon, home, modes, preflight, room
from ovl1.migrate import journal as events
from ovl1.migrate.area import Area
from ovl1.migrate.journal import Journal
from ovl1.migrate.options import DEFAULTS, Options
from ovl1.migrate.orphans import find_parents
from ovl1.migrate.plan import Plan, make_plan
from ovl1.migrate.squash.cut import deep
from ovl1.migrate.squash.renewed import renewed
from ovl1.migrate.trouble import explained
from ovl1.migrate.used import refuse_if_used
from ovl1.model import Progress, no_progress
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY
from ovl1.store.store import Store
from ovl1.store.whole import whole_part


class Prepared(NamedTuple):
    """A migration that could be run."""

    store: Store
    layers: Tuple[Conversion, ...]
    plan: Plan


@dataclass(frozen=True)
class Proof:
    """What was proved of the new store; more is in the certificate."""

    views: int
    diff_ids: int
    notes: List[str]
    quick: bool = False
    """Whether contents were left out."""


@dataclass(frozen=True)
class Outcome:
    """What a migration has done, from its beginning, however often it was stopped."""

    plan: Plan
    built: Built
    proof: Optional[Proof]
    squashed: Dict[str, str]
    """The new ids of images whose bottom layers have become one, by the old ones."""


def prepare(
    data_root: Path, options: Options = DEFAULTS, progress: Progress = no_progress
) -> Prepared:
    """Read the store and decide what to do; changes nothing.

    Raises:
        Refused: something forbids a migration; says what, and what to do.
    """
    root = discover(data_root).path
    target = options.to.resolve() if options.to else None
    if target is not None:
        preflight.check_target(root, target)
    preflight.refuse_if_in_progress(target or root, Area(target or root).journal)
    if target is not None:
        preflight.check_empty(target)
    store = Store.open(root, OVERLAY)
    preflight.check_store(store, strict=options.strict, in_place=options.in_place)
    whole = whole_part(store)
    squash = deep(whole.store) if options.squash else ()
    if squash:
        whole = renewed(whole, {}).whole
    layers = tuple(conversions(whole.store))
    if options.include_orphans:
        parents = find_parents(whole.store, layers, progress)
        layers = tuple(conversions(whole.store, parents))
    plan = replace(make_plan(whole, layers, options), squash=squash)
    if options.daemon_json is not None:
        file = daemon.check_file(options.daemon_json, data_root=root, to=target)
        plan = replace(plan, daemon_json=file, daemon_json_kept=daemon.kept_name(file))
    preflight.check_plan(layers, plan)
    return Prepared(whole.store, layers, plan)


def run(
    data_root: Path, options: Options = DEFAULTS, *, progress: Progress = no_progress
) -> Outcome:
    """Migrate the store; durable when it returns.

    Args:
        options: a data-root named in `to` is made if it is missing. Then `data_root` is only read.

    Raises:
        Refused, NotPossibleHere, CheckFailed: nothing was changed, or it was taken back.
        HalfDone: it was interrupted, or stopped and could not be taken back; says what to run.
    """
    root = discover(data_root).path
    place = options.to.resolve() if options.to else root
    with locks.exclusive(root), explained(place):
        refuse_if_used(root, only_read=options.to is not None)
        prepared = prepare(root, options, progress)
        plan = prepared.plan
        with _target(plan):
            room.check(*prepared, progress)
            journal = home.begin(plan, len(modes.steps_of(plan)))
            return _carry_out(plan, journal, progress)


def resume(data_root: Path, *, progress: Progress = no_progress) -> Outcome:
    """Go on with a migration that was stopped; durable when it returns.

    Raises:
        Refused: there is nothing to go on with, or Docker uses the store.
        Others: as `run`.
    """
    root = discover(data_root).path
    with locks.exclusive(root), explained(root):
        refuse_if_used(root)
        journal = home.opened(root)
        if not journal.is_under_way:
            raise Refused(f"the migration was {journal.words}", resolution=journal.resolution)
        plan = Plan.recorded(root, journal.plan)
        with _source(plan):
            return _carry_out(plan, journal, progress)


@contextlib.contextmanager
def _target(plan: Plan) -> Iterator[None]:
    """Hold a data-root that is made anew; it has the owner and the mode of the old one."""
    if plan.source_root is None:
        yield
        return
    if not plan.data_root.is_dir():
        status = plan.source_root.stat()
        plan.data_root.mkdir(0o700)
        os.chown(plan.data_root, status.st_uid, status.st_gid)
        plan.data_root.chmod(status.st_mode & 0o7777)
        durable.sync_directory(plan.data_root.parent)
    with locks.exclusive(plan.data_root):
        yield


@contextlib.contextmanager
def _source(plan: Plan) -> Iterator[None]:
    """Hold the old store, if it lies elsewhere."""
    if plan.source_root is None:
        yield
        return
    with locks.exclusive(plan.source_root):
        refuse_if_used(plan.source_root, only_read=True)
        yield


def _carry_out(plan: Plan, journal: Journal, progress: Progress) -> Outcome:
    try:
        home.furnish(plan)
        done = journal.done()
        for number, step in enumerate(modes.steps_of(plan, progress)):
            if number not in done:
                journal.add(events.BEGUN, step=number, what=step.what)
                journal.add(events.DONE, step=number, result=step.do())
    except KeyboardInterrupt as err:
        raise HalfDone(f"the migration was {journal.words}", resolution=journal.resolution) from err
    except BaseException:
        back.take_back(plan.data_root, journal, progress)
        raise
    return _outcome(plan, journal)


def _outcome(plan: Plan, journal: Journal) -> Outcome:
    proofs = [
        Proof(p["views"], p["diff_ids"], p["notes"], p["quick"]) for p in journal.results("proof")
    ]
    return Outcome(
        plan,
        sum((Built(**built) for built in journal.results("built")), Built()),
        proofs[0] if proofs else None,
        next(journal.results("squashed"), {}),
    )
