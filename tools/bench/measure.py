"""Timing whole processes, and calls inside of them; medians, and ratios of one run."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Union

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = 1, 2

Argument = Union[str, Path, int]
Figures = Dict[str, float]
Table = Dict[str, Figures]


class Outcome(NamedTuple):
    """Of a process that has ended."""

    seconds: float
    cpu: float
    """Seconds in user and system mode, children included."""
    peak: int
    """Bytes of the largest process."""
    output: bytes

    @property
    def figures(self) -> Figures:
        """What a table shows of it."""
        return {"seconds": self.seconds, "cpu": self.cpu}


def available() -> int:
    """How many processors there are to measure with."""
    return len(os.sched_getaffinity(0))


def run(
    command: Sequence[Argument], *, cores: int = 0, stdin: Union[IO[bytes], int, None] = None
) -> Outcome:
    """Run a command to its end, on so many processors; 0 for all there are.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    chosen = sorted(os.sched_getaffinity(0))[-cores:]
    arguments = [str(part) for part in command]
    started = time.monotonic()
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),  # noqa: PLW1509 - no threads here
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = status
    if status:
        raise subprocess.CalledProcessError(status, arguments)
    return Outcome(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10, output)


def byte_compile() -> None:
    """Compile ovl1's modules, as an installation does unless it is an editable one.

    Otherwise, where PYTHONDONTWRITEBYTECODE is set, each start of ovl1 takes twice as long.
    """
    run([sys.executable, "-m", "compileall", "-q", ROOT / "ovl1"])


class Call(NamedTuple):
    """A call of ovl1 in a process of its own."""

    figures: Figures
    """Of the call, in a process that had been running."""
    whole: Outcome
    """Of the process, the start of Python included."""
    peak: int
    """Bytes of the largest process."""
    answer: Any


def call(action: str, *arguments: Argument, cores: int = 0, stdin: IO[bytes] | None = None) -> Call:
    """Do one of the actions of `tools/bench/task.py`."""
    task = Path(__file__).with_name("task.py")
    outcome = run([sys.executable, task, action, *arguments], cores=cores, stdin=stdin)
    said = json.loads(outcome.output)
    figures = {name: said[name] for name in ("seconds", "cpu")}
    return Call(figures, outcome, said["peak"], said["answer"])


class Samples:
    """Figures by row, of which the medians are wanted."""

    def __init__(self) -> None:
        self._rows: Dict[str, Dict[str, List[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, row: str, figures: Figures) -> None:
        """Add those of one run."""
        for name, value in figures.items():
            self._rows[row][name].append(value)

    def table(self, *, than: Iterable[str] = ()) -> Table:
        """The medians, and for each row of `than` the ratios to its seconds, and to its CPU."""
        table = {
            row: {name: statistics.median(values) for name, values in columns.items()}
            for row, columns in self._rows.items()
        }
        for other in than:
            for figures in table.values():
                figures[f"of {other}"] = figures["seconds"] / table[other]["seconds"]
                figures[f"CPU of {other}"] = figures["cpu"] / table[other]["cpu"]
        return table


def settle() -> None:
    """Write back what the last measurement left behind."""
    os.sync()


@contextlib.contextmanager
def timed() -> Iterator[List[float]]:
    """The seconds that the block takes, as the only number of a list, which is there after it."""
    result: List[float] = []
    started = time.monotonic()
    yield result
    result.append(time.monotonic() - started)


def show(name: str, table: Table) -> None:
    """Print a table, one line for each row."""
    columns = list(dict.fromkeys(column for figures in table.values() for column in figures))
    width = max(map(len, table))
    print(f"\n{name:{width}}" + "".join(f"{column:>22}" for column in columns))
    for row, figures in table.items():
        cells = (f"{figures[column]:,.3f}" if column in figures else "" for column in columns)
        print(f"{row:{width}}" + "".join(f"{cell:>22}" for cell in cells))
