"""A migration while the power fails: what was not made durable is really gone.

The file system is shut down right before some system call, without flushing its log; then the
command is killed, and the file system mounted anew. Its log may have reached the disk then or
before, as it does every few seconds in life; and the power may fail again while the first failure
is being put right. What must hold then is what must hold after a kill.
"""

from __future__ import annotations

import functools
import random
from typing import Callable, Iterator, List, NamedTuple, Tuple

import pytest

from tests.support.faults import Group, Point, Supervised, supervised
from tests.support.faults_migration import (
    MODES,
    PURGE,
    ROLLBACK,
    RUN,
    VERBS,
    Aftermath,
    Stage,
    stage,
    survives_lost_power,
)
from tests.support.faults_tally import Tally, tally
from tests.support.power import KINDS

__all__ = ["tally"]

pytestmark = [
    pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs", "seccomp-notify"),
    pytest.mark.timeout(3600),
]

QUICK, FULL = 3, 100
"""How many moments are tried."""


class Moment(NamedTuple):
    """When the power fails, and when the log was on the disk before, in system calls."""

    number: int
    commits: Tuple[int, ...] = ()


NEVER = Moment(0)


@pytest.fixture(
    scope="module",
    params=[(kind, mode) for kind in KINDS for mode in MODES],
    ids=lambda param: f"{param[0]}, {param[1]}",
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    kind, mode = request.param
    with stage(mode, kind, tmp_path_factory.mktemp("power")) as made:
        yield made


def cut(place: Stage, moment: Moment, action: Callable[[], int]) -> Supervised:
    """Do `action` until the power fails, at the latest when it has ended; then mount again."""

    def decide(point: Point, group: Group) -> int:
        if point.number in moment.commits:
            place.disk.commit()
        if point.number == moment.number:
            place.disk.lose_power()
            group.kill()
        return 0

    done = supervised(action, place.watched, decide)
    if done.hit is None:
        place.disk.lose_power()
    place.disk.restart()
    return done


def some_moment(chance: random.Random, points: List[Point]) -> Moment:
    """Right before any call, or before any of a rare kind, as renames and syncs are.

    With the log as it was when somebody last asked for it; as it is now; or as it was once before.
    """
    kind = chance.choice([None, chance.choice(sorted({point.call for point in points}))])
    number = chance.choice([point.number for point in points if kind in (None, point.call)])
    return Moment(number, chance.choice([(), (number,), (chance.randint(1, number),)]))


@pytest.mark.parametrize("verb", VERBS)
def test_power_fails_at_any_moment(place: Stage, verb: str, tally: Tally, full: bool) -> None:
    there = len(place.points(verb))
    seeds = range(FULL if full else QUICK)
    kind = f"{place.mode} on {place.disk.kind}, {verb}, power lost"
    tally.try_all(kind, there, seeds, functools.partial(fails, place, verb))


def fails(place: Stage, verb: str, seed: int) -> None:
    chance = random.Random(f"{place.disk.kind} {place.mode} {verb} {seed}")
    after = PURGE if verb == PURGE else ROLLBACK
    first, second = (some_moment(chance, place.points(each)) for each in (verb, after))
    told = f"{first} at {cut(place, first, place.start(verb)).hit}"
    if seed % 2 and place.area.home.exists():
        told += f", then {second} at {cut(place, second, place.action(after)).hit}"
    try:
        survives_lost_power(place, verb)
    except AssertionError as err:
        raise AssertionError(f"{told}\n{err}") from err


@pytest.mark.parametrize("verb", VERBS)
def test_what_has_returned_is_on_the_disk(place: Stage, verb: str) -> None:
    done = cut(place, NEVER, place.start(verb))
    assert done.ended.code == 0, done.ended
    assert place.area.home.exists() == (verb == RUN)
    if verb == RUN:
        assert "finished and verified" in place.do("status").out
        place.done("verify")
    Aftermath(place, verb).ends_well()
