"""What fuzzing has found once, and its seeds, without the fuzzer: each holds or is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Dict, List

import pytest

from tests.fuzz import mutate
from tests.fuzz.session import REGRESSIONS
from tests.fuzz.targets import PLANTED, TARGETS, Target
from tests.support import hostile_tar as t


def targets(some: Dict[str, Target]) -> List[object]:
    """Parameters, each with what it needs."""
    return [
        pytest.param(name, marks=pytest.mark.needs("root") if target.needs_root else ())
        for name, target in some.items()
    ]


@pytest.mark.parametrize("name", targets(TARGETS))
def test_what_was_found_once_holds(name: str, tmp_path: Path) -> None:
    with TARGETS[name].opened(tmp_path) as run:
        for path in sorted((REGRESSIONS / name).glob("*")):
            run(path.read_bytes())


@pytest.mark.parametrize("name", targets(TARGETS))
def test_the_seeds_hold(name: str, tmp_path: Path) -> None:
    with TARGETS[name].opened(tmp_path) as run:
        for data in TARGETS[name].seeds().values():
            run(data)


@pytest.mark.parametrize("name", targets(PLANTED))
def test_what_is_planted_is_not_in_the_seeds(name: str, tmp_path: Path) -> None:
    with PLANTED[name].opened(tmp_path) as run:
        for data in PLANTED[name].seeds().values():
            run(data)


def test_there_is_no_regression_of_nothing() -> None:
    kept = {path.parent.name for path in REGRESSIONS.glob("*/*")}
    assert kept <= TARGETS.keys()


def test_a_mutated_header_has_its_checksum_right() -> None:
    """Mostly: without it nothing behind the checksum would be reached."""

    def havoc(data: bytes, most: int) -> bytes:
        return (data[:9] + b"?" + data[10:])[:most]

    rnd = random.Random(1)
    data = t.tar(t.member(b"x", data=b"x" * 700), t.folder(b"y"), t.symlink(b"z", b"y"))
    right = changed = 0
    for _ in range(200):
        made = mutate.tar(data, 1 << 16, rnd, havoc)
        assert len(made) <= 1 << 16
        heads = [member[: t.BLOCK] for member in mutate.members(made) if mutate.whole(member)]
        right += all(head == t.summed(head) for head in heads)
        changed += made != data
    assert right > 150
    assert changed > 150
