"""The crash matrix of a migration: something happens right before any system call of it.

Each call that can change the file system is a point: there the command is killed with all its
workers, meets with an error, or gets a signal. The same store, down to inode numbers and times, is
at the start of each try. Afterwards it must be possible to have the old store back, bit for bit;
or, once a purge has begun, to end that.
"""

from __future__ import annotations

import errno
import functools
import random
import signal
from typing import Callable, Iterator, NamedTuple

import pytest

from tests.support.faults import (
    Point,
    Supervised,
    alone,
    failing_at,
    happening_at,
    killed_at,
    signalled_at,
)
from tests.support.faults_calls import can_give
from tests.support.faults_migration import (
    EXPLAINED,
    IN_PLACE,
    MODES,
    PURGE,
    ROLLBACK,
    RUN,
    VERBS,
    Aftermath,
    Stage,
    goes_on,
    stage,
    survives_a_full_disk,
    survives_a_kill,
    survives_a_signal,
    survives_an_error,
)
from tests.support.faults_tally import Tally, spread, tally
from tests.support.power import Disk

__all__ = ["tally"]

pytestmark = [
    pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "seccomp-notify"),
    pytest.mark.timeout(3600),
]

SERIES, SERIES_FULL = 2, 200
"""How many series of accidents are tried."""

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMLINK, errno.EXDEV)
QUICK_ERRORS = (
    (errno.ENOSPC, False),
    (errno.ENOSPC, True),
    (errno.EIO, True),
    (errno.EMLINK, False),
    (errno.EXDEV, False),
)
"""Which, and whether it lasts."""


class Accident(NamedTuple):
    """Something that can happen at a point."""

    name: str
    happens: Callable[[int, Callable[[], int], Stage], Supervised]
    survived: Callable[[Stage, str, Supervised], None]
    quick: int
    """How many points of each verb are tried in the quick form, which leaves some out."""
    can_happen: Callable[[Point], bool] = lambda point: True

    def __str__(self) -> str:
        return self.name


def error(number: int, *, lasting: bool = False) -> Accident:
    return Accident(
        f"{errno.errorcode[number]} {'from then on' if lasting else 'once'}",
        lambda at, action, place: failing_at(at, number, action, place.watched, lasting=lasting),
        survives_an_error,
        int((number, lasting) in QUICK_ERRORS),
        lambda point: can_give(point.call, number),
    )


def signalled(number: int) -> Accident:
    return Accident(
        signal.Signals(number).name,
        lambda at, action, place: signalled_at(at, number, action, place.watched),
        survives_a_signal,
        int(number == signal.SIGTERM),
    )


def used_up(what: str, use_up: Callable[[Disk], None]) -> Accident:
    """Really: somebody else takes it all."""
    return Accident(
        f"{what} used up",
        lambda at, action, place: happening_at(
            at, lambda group: use_up(place.disk), action, place.watched
        ),
        survives_a_full_disk,
        1,
    )


ACCIDENTS = [
    Accident(
        "killed",
        lambda at, action, place: killed_at(at, action, place.watched),
        survives_a_kill,
        3,
    ),
    Accident(
        "killed, without workers",
        lambda at, action, place: killed_at(at, alone(action), place.watched),
        survives_a_kill,
        2,
    ),
    *(error(number, lasting=lasting) for number in ERRORS for lasting in (False, True)),
    used_up("inodes", Disk.use_up_inodes),
    used_up("space", Disk.use_up_space),
    signalled(signal.SIGINT),
    signalled(signal.SIGTERM),
]


@pytest.fixture(scope="module", params=MODES, ids=str)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with stage(request.param, "ext4", tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("accident", ACCIDENTS, ids=str)
def test_an_accident_at_any_moment(
    place: Stage, verb: str, accident: Accident, tally: Tally, full: bool
) -> None:
    if not (full or accident.quick):
        pytest.skip("only in the full form")
    points = [point.number for point in place.points(verb) if accident.can_happen(point)]
    if not points:
        pytest.skip(f"{verb} makes no call that can give {accident}")
    chosen = points if full else [points[at - 1] for at in spread(len(points), accident.quick)]
    attempt = functools.partial(happens, place, verb, accident)
    tally.try_all(f"{place.mode}, {verb}, {accident}", len(points), chosen, attempt)


def happens(place: Stage, verb: str, accident: Accident, number: int) -> None:
    done = accident.happens(number, place.start(verb), place)
    try:
        accident.survived(place, verb, done)
    except AssertionError as err:
        raise AssertionError(f"{done.hit}\n{done.ended}\n{err}") from err


@pytest.mark.parametrize("verb", VERBS)
def test_one_accident_after_the_other(place: Stage, verb: str, tally: Tally, full: bool) -> None:
    """What puts things right meets with an accident, too; and again, and again."""
    kind = f"{place.mode}, {verb}, accidents in a row"
    attempt = functools.partial(series, place, verb)
    tally.try_all(kind, 0, range(SERIES_FULL if full else SERIES), attempt)


def series(place: Stage, verb: str, seed: int) -> None:
    """One goes on with what was begun, or back; in the end it must come to an end."""
    chance = random.Random(f"{place.mode} {verb} {seed}")
    after = {RUN: ("resume", "resume", ROLLBACK), ROLLBACK: (ROLLBACK,), PURGE: (PURGE,)}[verb]
    total = len(place.points(verb))
    action, told = place.start(verb), []
    for _ in range(chance.randint(2, 6)):
        accident, number = chance.choice(ACCIDENTS), chance.randint(1, total)
        done = accident.happens(number, action, place)
        told.append(f"{accident} at {done.hit}: {done.ended}")
        action = place.action(chance.choice(after))
    place.disk.make_room()
    try:
        assert not [text for text in told if "Traceback" in text]
        Aftermath(place, verb, lost_power=True, shares_less=place.mode == IN_PLACE).ends_well()
    except AssertionError as err:
        raise AssertionError("\n".join([*told, str(err)])) from err


@pytest.mark.parametrize("workers", [True, False], ids=["workers", "without workers"])
def test_killed_and_gone_on_with(place: Stage, workers: bool, tally: Tally, full: bool) -> None:
    """`resume` ends what was begun, and proves it; and it can be taken back then."""
    points = [point.number for point in place.points(RUN)]
    chosen = points if full else [points[at - 1] for at in spread(len(points), 3)]

    def attempt(number: int) -> None:
        action = place.start(RUN)
        done = killed_at(number, action if workers else alone(action), place.watched)
        goes_on(place, done.hit)

    told = "with its workers" if workers else "without workers"
    tally.try_all(f"{place.mode}, run killed {told}, resumed", len(points), chosen, attempt)


@pytest.mark.parametrize("last", [4, 3, 2, 1])
def test_interrupted_at_the_very_end_of_a_rollback(place: Stage, last: int) -> None:
    """When the journal goes, the times are given back all the same."""
    number = len(place.points(ROLLBACK)) + 1 - last
    done = signalled_at(number, signal.SIGINT, alone(place.start(ROLLBACK)), place.watched)
    survives_a_signal(place, ROLLBACK, done)


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_an_error_of_the_disk_is_explained(place: Stage, number: int) -> None:
    """Whoever reads it, or a script that sees the exit code, knows what there is to be done."""
    points = [point.number for point in place.points(RUN) if can_give(point.call, number)]
    for at in spread(len(points), 2):
        done = failing_at(points[at - 1], number, place.start(RUN), place.watched, lasting=True)
        assert done.ended.code in (0, *EXPLAINED), f"{done.hit}: {done.ended}"
