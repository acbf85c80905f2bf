"""Claims: one of several processes gets each, and keeps it while it lives."""

from __future__ import annotations

import os
import time
from typing import List, Tuple

from ovl1.linux.claims import Claims
from ovl1.linux.workers import in_parallel

NUMBERS = range(50, 20_000, 97)


def test_each_is_given_to_one_alone() -> None:
    with Claims() as claims:

        def claim(_item: int) -> List[int]:
            time.sleep(0.02)
            return [number for number in NUMBERS if claims.mine(number) and claims.mine(number)]

        given = [number for got in in_parallel(claim, range(3), workers=3) for number in got]
    assert sorted(given) == list(NUMBERS)


def test_the_answer_stays_the_same() -> None:
    with Claims() as claims:

        def claim(item: int) -> Tuple[int, List[bool]]:
            time.sleep(0.01)
            return os.getpid(), [claims.mine(number) for number in range(item, 100)]

        answers = list(in_parallel(claim, [0] * 8, workers=2))
    for pid, mine in answers:
        assert all(mine == other for who, other in answers if who == pid)
    assert len({tuple(mine) for _, mine in answers}) == len({pid for pid, _ in answers}) == 2


def test_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    claims = Claims()
    assert claims.mine(1)
    claims.close()
    claims.close()
    assert os.listdir("/proc/self/fd") == before
