"""How many points of which kind were tried and passed, printed at the end of a session."""

from __future__ import annotations

from typing import Callable, Iterable, List, NamedTuple, TypeVar

import pytest
from _pytest.terminal import TerminalReporter

_NAME = "points tried and passed"
_MAX_SHOWN = 20

Item = TypeVar("Item")


class Line(NamedTuple):
    """One kind of points."""

    kind: str
    there: int
    """How many such points there are; 0 if they are beyond number."""
    tried: int
    passed: int

    def __str__(self) -> str:
        there = f", of {self.there} there are" if self.there else ""
        return f"{self.kind}: {self.passed} of {self.tried} tried passed{there}"


class Tally:
    """What a test has tried; `tally` gives it."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def try_all(
        self, kind: str, there: int, items: Iterable[Item], attempt: Callable[[Item], object]
    ) -> None:
        """Let each be tried, however many fail; then fail, with the first of them.

        Args:
            attempt: raises ``AssertionError`` for what does not pass.
        """
        failed: List[str] = []
        tried = 0
        for item in items:
            tried += 1
            try:
                attempt(item)
            except AssertionError as err:
                failed.append(f"{item}: {err}")
        line = Line(kind, there, tried, tried - len(failed))
        self._record(_NAME, tuple(line))
        assert tried, f"{kind}: there is nothing to try"
        if failed:
            shown = "\n\n".join(failed[:_MAX_SHOWN])
            pytest.fail(f"{line}\n\n{shown}", pytrace=False)


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """To be imported by who counts points; what a worker of pytest-xdist counts arrives, too."""
    return Tally(record_property)


def tell(reporter: TerminalReporter) -> None:
    """Print what was tried, if anything was: for pytest's hook at the end of a session."""
    reports = [report for kind in ("passed", "failed") for report in reporter.getreports(kind)]
    lines = [
        Line(*value)
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == _NAME
    ]
    if lines:
        reporter.section(_NAME)
        for line in (*sorted(lines), _total(lines)):
            reporter.write_line(str(line))


def _total(lines: List[Line]) -> Line:
    return Line("all", *map(sum, zip(*(line[1:] for line in lines))))


def spread(total: int, wanted: int) -> List[int]:
    """`wanted` numbers from 1 to `total`, evenly, with both ends; all if there are no more.

    One alone is in the middle, where there is something to take back and something to do.
    """
    if total <= wanted:
        return list(range(1, total + 1))
    if wanted == 1:
        return [(total + 1) // 2]
    return sorted({1 + round(step * (total - 1) / (wanted - 1)) for step in range(wanted)})
