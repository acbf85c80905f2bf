"""A set of numbers that lie close together."""

from __future__ import annotations

import tracemalloc
from typing import List, Set

from hypothesis import given
from hypothesis import strategies as st

from ovl1.numberset import NumberSet

INODES = st.one_of(st.integers(0, 5000), st.integers(0, (1 << 64) - 1))


@given(st.lists(INODES), st.lists(INODES))
def test_it_is_a_set(added: List[int], others: List[int]) -> None:
    numbers = NumberSet()
    expected: Set[int] = set()
    for number in added:
        assert numbers.add(number) == (number not in expected)
        expected.add(number)
    assert len(numbers) == len(expected)
    for number in added + others:
        assert (number in numbers) == (number in expected)


def test_inodes_in_a_row_take_next_to_no_memory() -> None:
    tracemalloc.start()
    try:
        numbers = NumberSet()
        for number in range(100_000):
            numbers.add(number)
        assert tracemalloc.get_traced_memory()[1] < 40_000
    finally:
        tracemalloc.stop()
