"""How many points of which kind were tried and passed, printed at the end of a session."""

from __future__ import annotations

from typing import Callable, Iterable, List, NamedTuple, Tuple, TypeVar

import pytest

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
    """A plugin of pytest that adds up; `tally` gives it."""

    def __init__(self) -> None:
        self._lines: List[Line] = []

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
        self._lines.append(line)
        assert tried, f"{kind}: there is nothing to try"
        if failed:
            shown = "\n\n".join(failed[:_MAX_SHOWN])
            pytest.fail(f"{line}\n\n{shown}", pytrace=False)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What pytest calls at the end."""
        if self._lines:
            terminalreporter.section(_NAME)
            for line in (*self._lines, self._total()):
                terminalreporter.write_line(str(line))

    def _total(self) -> Line:
        numbers: List[Tuple[int, ...]] = [line[1:] for line in self._lines]
        return Line("all", *map(sum, zip(*numbers)))


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """To be imported by who counts points; there is one for the session."""
    plugins = request.config.pluginmanager
    found = plugins.get_plugin(_NAME)
    if not isinstance(found, Tally):
        found = Tally()
        plugins.register(found, _NAME)
    return found


def spread(total: int, wanted: int) -> List[int]:
    """`wanted` numbers from 1 to `total`, evenly, with both ends; all if there are no more."""
    if total <= wanted:
        return list(range(1, total + 1))
    return sorted({1 + round(step * (total - 1) / (wanted - 1)) for step in range(wanted)})
