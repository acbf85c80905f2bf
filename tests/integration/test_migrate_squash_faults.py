"""The crash matrix of a migration that squashes images: killed right before any system call."""

from __future__ import annotations

import functools
from typing import Iterator

import pytest

from ovl1.migrate.squash import cut
from tests.support.deep_stores import deep_store
from tests.support.faults import killed_at
from tests.support.faults_migration import (
    ELSEWHERE,
    ROLLBACK,
    RUN,
    SIDE_BY_SIDE,
    Mode,
    Stage,
    goes_on,
    stage,
    survives_a_kill,
)
from tests.support.faults_tally import Tally, tally

__all__ = ["tally"]

pytestmark = [
    pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "seccomp-notify"),
    pytest.mark.timeout(3600),
]

MOST_LAYERS = 4
MODES = [
    Mode(f"{mode}, squashed", ("--squash", *mode.arguments), lambda root: deep_store(root, 5))
    for mode in (SIDE_BY_SIDE, ELSEWHERE)
]


@pytest.fixture(autouse=True, scope="module")
def _limit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut, "MOST_LAYERS", MOST_LAYERS)
        yield


@pytest.fixture(scope="module", params=MODES, ids=str)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, full: bool
) -> Iterator[Stage]:
    if not full:
        pytest.skip("only in the full form")
    with stage(request.param, "ext4", tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("verb", [RUN, ROLLBACK])
def test_killed_at_any_moment_and_taken_back(place: Stage, verb: str, tally: Tally) -> None:
    points = [point.number for point in place.points(verb)]
    attempt = functools.partial(happens, place, verb)
    tally.try_all(f"{place.mode}, {verb}, killed", len(points), points, attempt)


def happens(place: Stage, verb: str, number: int) -> None:
    done = killed_at(number, place.start(verb), place.watched)
    survives_a_kill(place, verb, done)


def test_killed_at_any_moment_and_gone_on_with(place: Stage, tally: Tally) -> None:
    points = [point.number for point in place.points(RUN)]

    def attempt(number: int) -> None:
        goes_on(place, killed_at(number, place.start(RUN), place.watched).hit)

    tally.try_all(f"{place.mode}, run killed, resumed", len(points), points, attempt)
