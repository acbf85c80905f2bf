"""Rates, times and what is shown of them, for looks that are made up."""

from __future__ import annotations

import threading
import time
from typing import Dict, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.cli.inodes.watch import ticks
from ovl1.cli.inodes.watch_views import duration
from ovl1.inodes.watch import BYTES, INODES, Amount, Course, Look, State, Watch

TOTAL = 10**6


def seen(at: float, used: int, total: int = TOTAL, path: str = "/d") -> Look:
    amount = Amount(total, used, total - used)
    return Look(at, {path: State("ext4", {INODES: amount, BYTES: amount})}, 0, 0)


def course(watch: Watch, what: str = INODES) -> Course:
    (found,) = (each for each in watch.courses() if each.what == what)
    return found


def watched(looks: List[Look], window: float = 30) -> Watch:
    watch = Watch(window)
    for each in looks:
        watch.add(each)
    return watch


def test_one_look_has_no_rate() -> None:
    found = course(watched([seen(0, 5)]))
    assert found.pace is None
    assert found.mean is None
    assert (found.change, found.least_free) == (0, TOTAL - 5)


@given(rate=st.integers(1, 1000), seconds=st.integers(1, 200))
def test_a_steady_rate_is_told(rate: int, seconds: int) -> None:
    found = course(watched([seen(t, rate * t) for t in range(seconds + 1)]))
    assert found.pace is not None
    assert found.pace.used_per_second == pytest.approx(rate)
    assert found.pace.seconds_left == pytest.approx((TOTAL - rate * seconds) / rate)
    assert found.change == rate * seconds


def test_bursts_are_told_evenly() -> None:
    """A thousand every ten seconds is a hundred a second, whenever one looks."""
    watch = Watch(30)
    for t in range(200):
        watch.add(seen(t, 1000 * (t // 10)))
        if t >= 30:
            pace = course(watch).pace
            assert pace is not None
            assert pace.used_per_second == pytest.approx(100)


def test_what_has_stopped_is_forgotten() -> None:
    looks = [seen(t, 1000 * min(t, 50)) for t in range(81)]
    found = course(watched(looks))
    assert found.pace == (0.0, None)
    assert found.mean is not None
    assert found.mean.used_per_second == pytest.approx(50000 / 80)


def test_late_looks_still_span_a_window() -> None:
    found = course(watched([seen(0, 0), seen(100, 100), seen(200, 400)]))
    assert found.pace is not None
    assert found.pace.used_per_second == pytest.approx(3)


def test_what_is_freed_lasts_for_ever_and_what_is_full_is_full() -> None:
    freed = course(watched([seen(0, 900), seen(1, 500)]))
    assert freed.pace == (-400.0, None)
    assert freed.change == -400
    assert freed.least_free == TOTAL - 900
    full = course(watched([seen(0, TOTAL), seen(1, TOTAL)]))
    assert full.pace == (0.0, 0.0)


def test_the_time_left_follows_what_is_free() -> None:
    """xfs: as data take room, it has fewer inodes left, and fewer in all."""
    found = course(watched([seen(0, 100, 1100), seen(10, 100, 600)]))
    assert found.pace == (0.0, 10.0)


def test_what_is_not_counted_and_what_comes_later() -> None:
    amount = Amount(10, 5, 5)
    states: Dict[str, State] = {"/d": State("btrfs", {BYTES: amount})}
    watch = watched([Look(0, states, 1, 0), seen(1, 5, path="/late"), seen(2, 6, path="/late")])
    assert {(each.path, each.what) for each in watch.courses()} == {
        ("/late", INODES),
        ("/late", BYTES),
    }
    assert course(watch).mean == pytest.approx((1, TOTAL - 6))
    assert watch.elapsed == 2


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h 0 min"),
        (3725, "1 h 2 min"),
        (86400, "1 d 0 h"),
        (200000, "2 d 7 h"),
        (10**9, "over a year"),
        (float("inf"), "over a year"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def times(interval: float, limit: Optional[float], busy: float = 0) -> List[float]:
    begun, found = time.monotonic(), []
    for _ in ticks(threading.Event(), interval, limit):
        found.append(time.monotonic() - begun)
        time.sleep(busy)
    return found


def test_ticks_are_on_time() -> None:
    found = times(0.1, 0.35)
    assert len(found) == 4
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.35], abs=0.08)
    assert times(1, 0) == pytest.approx([0], abs=0.08)


def test_a_slow_look_leaves_ticks_out() -> None:
    found = times(0.1, 0.5, busy=0.15)
    assert len(found) <= 4
    assert found[:2] == pytest.approx([0.1, 0.3], abs=0.08)


def test_it_is_over_when_that_is_said() -> None:
    over = threading.Event()
    threading.Timer(0.1, over.set).start()
    begun = time.monotonic()
    assert len(list(ticks(over, 60, None))) == 1
    assert time.monotonic() - begun < 10
