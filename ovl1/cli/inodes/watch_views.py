"""What ``ovl1 inodes watch`` shows: a live view, lines, or JSON; each with a summary.

Schema 1 of ``--json``: keys are only ever added; what changes or goes raises the number.
"""

from __future__ import annotations

import abc
import json
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import click

from ovl1.cli import output
from ovl1.inodes.watch import BYTES, Amount, Course, Pace, Watch

SCHEMA = 1

_COLUMNS = (
    *(("TIME", -8), ("INODES USED", 12), ("FREE", 11), ("PER SECOND", 10), ("LEFT", 12)),
    *(("BYTES USED", 10), ("FREE", 8), ("PER SECOND", 10), ("LEFT", 12)),
    *(("LAYERS", 6), ("CONTAINERS", 10)),
)
_BLANK = 4
_LONG = 366 * 86400
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_BAR = 12


class View(abc.ABC):
    """How the looks are shown."""

    show_line: Optional[Callable[[str], None]] = None
    """Takes a line that a command prints, if it must not reach the terminal by itself."""

    @abc.abstractmethod
    def tick(self, watch: Watch) -> None:
        """Show the latest look."""

    def summary(self, watch: Watch, code: Optional[int]) -> None:
        """Sum up; `code` is the command's."""
        click.echo()
        output.print_table(
            ["IN ALL", "", ">USED", ">FREE", ">LEAST FREE", ">CHANGE", ">PER SECOND"],
            [_summed_up(course) for course in watch.courses()],
        )
        first, last = watch.first, watch.last
        click.echo(
            f"\n{duration(watch.elapsed)}; layers {last.layers} ({last.layers - first.layers:+,}), "
            f"containers {last.containers} ({last.containers - first.containers:+,})"
            + (f"; exit code {code}" if code is not None else "")
        )


class JsonView(View):
    """One line of JSON for each look, and one for the summary."""

    def tick(self, watch: Watch) -> None:
        """Print what is there now."""
        self._print("tick", watch, lambda course: _pace_values(course.pace))

    def summary(self, watch: Watch, code: Optional[int]) -> None:
        """Print what has changed."""
        first, last = watch.first, watch.last
        self._print(
            "summary",
            watch,
            lambda course: {
                **_pace_values(course.mean),
                "change": course.change,
                "least_free": course.least_free,
            },
            new_layers=last.layers - first.layers,
            new_containers=last.containers - first.containers,
            exit_code=code,
        )

    @staticmethod
    def _print(
        event: str, watch: Watch, values: Callable[[Course], Dict[str, Any]], **more: object
    ) -> None:
        systems: Dict[str, Dict[str, Any]] = {}
        for course in watch.courses():
            about = {"path": course.path, "kind": course.kind, "inodes": None}
            told = {**course.now._asdict(), **values(course)}
            systems.setdefault(course.path, about)[course.what] = told
        line = {
            "schema": SCHEMA,
            "event": event,
            "time": round(time.time(), 3),
            "elapsed": round(watch.elapsed, 3),
            "layers": watch.last.layers,
            "containers": watch.last.containers,
            "file_systems": list(systems.values()),
            **more,
        }
        click.echo(json.dumps(line, sort_keys=True))


class LinesView(View):
    """One line for each look and file system, below a head."""

    def __init__(self) -> None:
        self._told = False

    def tick(self, watch: Watch) -> None:
        """Print what is there now."""
        apart = len(watch.last.systems) > 1
        if not self._told:
            self._told = True
            heads = [name for name, _ in _COLUMNS]
            click.echo(_aligned(heads) + ("  FILE SYSTEM" if apart else ""))
        cells: Dict[str, List[str]] = {}
        for course in watch.courses():
            row = cells.setdefault(course.path, [])
            if course.what == BYTES and not row:
                row += ["-"] * _BLANK
            row += [*_amounts(course.what, course.now), *_paced(course.what, course.pace)]
        counts = [str(watch.last.layers), str(watch.last.containers)]
        for path, row in cells.items():
            line = _aligned([f"{watch.elapsed:.1f}s", *row, *counts])
            click.echo(line + (f"  {output.escaped(path)}" if apart else ""))


class LiveView(View):
    """A table that is drawn anew with each look; what a command prints goes above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False)
        self.show_line = self._show_line

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def tick(self, watch: Watch) -> None:
        """Draw what is there now."""
        self._live.update(_drawn(watch), refresh=True)

    def _show_line(self, line: str) -> None:
        from rich.text import Text

        self._live.console.print(Text.from_ansi(line))


def _drawn(watch: Watch) -> Any:
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    last = watch.last
    caption = f"{duration(watch.elapsed)}; layers {last.layers}, containers {last.containers}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("FILE SYSTEM", overflow="fold")
    table.add_column("")
    table.add_column("", width=_BAR)
    for name in ("USED", "FREE", "CHANGE", "PER SECOND", "LEFT"):
        table.add_column(name, justify="right", no_wrap=True)
    for course in watch.courses():
        whole, used = course.now.total, course.now.used
        table.add_row(
            Text(f"{output.escaped(course.path)} ({course.kind})"),
            course.what,
            ProgressBar(total=max(whole, 1), completed=used, width=_BAR),
            *_amounts(course.what, course.now),
            _signed(course.what, course.change),
            *_paced(course.what, course.pace),
        )
    return table


def _summed_up(course: Course) -> List[str]:
    return [
        course.path,
        course.what,
        *_amounts(course.what, course.now),
        _shown(course.what, course.least_free),
        _signed(course.what, course.change),
        _paced(course.what, course.mean)[0],
    ]


def _amounts(what: str, amount: Amount) -> Sequence[str]:
    return _shown(what, amount.used), _shown(what, amount.free)


def _paced(what: str, pace: Optional[Pace]) -> Sequence[str]:
    """The rate, and the time that is left."""
    if pace is None:
        return "-", "-"
    left = pace.seconds_left
    return _signed(what, round(pace.used_per_second)), "-" if left is None else duration(left)


def _pace_values(pace: Optional[Pace]) -> Dict[str, Any]:
    if pace is None:
        return {"used_per_second": None, "seconds_left": None}
    left = pace.seconds_left
    return {
        "used_per_second": round(pace.used_per_second, 3),
        "seconds_left": None if left is None else round(left, 1),
    }


def _shown(what: str, number: int) -> str:
    return output.human_size(number) if what == BYTES else f"{number:,}"


def _signed(what: str, number: int) -> str:
    sign = "-" if number < 0 else "+" if number else ""
    return sign + _shown(what, abs(number))


def _aligned(cells: Sequence[str]) -> str:
    padded = (
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, (_, width) in zip(cells, _COLUMNS)
    )
    return "  ".join(padded)


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    if seconds >= _LONG:
        return "over a year"
    left = round(seconds)
    parts: List[str] = []
    for unit, length in _UNITS:
        number, left = divmod(left, length)
        if number or (parts and unit != _UNITS[-1][0]):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"
