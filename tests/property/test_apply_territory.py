"""What the laws of applying layers are tried on: random layers that get into trouble often."""

from __future__ import annotations

from typing import Counter, List

import pytest
from hypothesis import Phase, given, settings

from tests.property.apply_layers import BASE, TERRITORY, layers, reached
from tests.property.apply_model import Item, Model

_EXAMPLES = 500
_FAIR = 0.1


def shares(seen: List[List[Item]]) -> Counter[str]:
    """How many of the layers meet what."""
    found: Counter[str] = Counter()
    for items in seen:
        below = Model()
        below.apply(BASE)
        found.update(reached(Model(below), items))
    return found


@pytest.fixture(scope="module")
def examples() -> List[List[Item]]:
    seen: List[List[Item]] = []

    @settings(max_examples=_EXAMPLES, derandomize=True, phases=[Phase.generate], database=None)
    @given(layers())
    def collect(items: List[Item]) -> None:
        seen.append(items)

    collect()
    return seen


@pytest.mark.parametrize("what", TERRITORY)
def test_the_generator_reaches(what: str, examples: List[List[Item]]) -> None:
    assert shares(examples)[what] >= _FAIR * len(examples)


def test_harmless_layers_reach_nothing() -> None:
    assert not shares([[Item("file", ("new",), (), 0)]])
