"""How results reach people and programs: tables, JSON, progress, escaped names.

On a terminal tables are drawn by rich; piped, they are plain aligned text without a line break
inside a row. Nothing that an image chose reaches the terminal raw: control characters,
bidirectional overrides and bytes that are no UTF-8 are shown as escapes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from typing import Any, Callable, Iterator, Optional, Sequence

import click

from ovl1.errors import OvlError
from ovl1.formats import readable

escaped = readable.escaped
human_size = readable.human_size


def print_json(value: Any) -> None:
    """JSON for programs: keys sorted, ASCII only, so that nothing in it acts on a terminal."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True, default=str)
    click.echo(text.replace("\x7f", "\\u007f"))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; a column whose name begins with ``>`` is aligned to the right."""
    cells = [[escaped(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, cells)
        return
    heads = [column.lstrip(">") for column in columns]
    widths = [max(map(_width, column)) for column in zip(heads, *cells)]
    for row in [heads, *cells]:
        parts = [
            _pad(cell, width, right=column.startswith(">"))
            for cell, width, column in zip(row, widths, columns)
        ]
        click.echo("  ".join(parts).rstrip())


def print_fields(fields: Sequence[Sequence[str]]) -> None:
    """Names and values, one pair a line."""
    width = max((_width(name) for name, _ in fields), default=0)
    for name, value in fields:
        click.echo(f"{_pad(name, width, right=False)}  {escaped(value)}".rstrip())


def remark(text: str) -> None:
    """A line for the human, on standard error."""
    click.echo(escaped(text), err=True)


def print_error(error: OvlError, *, as_json: bool) -> None:
    """The three parts of an error, on standard error."""
    if as_json:
        parts = {
            "brief": error.brief,
            "details": error.details,
            "resolution": error.resolution,
            "kind": type(error).__name__,
            "exit_code": error.exit_code,
        }
        click.echo(json.dumps({"error": parts}, sort_keys=True), err=True)
        return
    remark(f"ovl1: {error.brief}")
    for text in (error.details, error.resolution):
        for line in text.splitlines():
            remark(f"  {line}")


@contextlib.contextmanager
def progress(
    label: str, total: Optional[int], *, quiet: bool = False, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left, on standard error if that is a terminal.

    Args:
        total: how much there is to do; None if nobody knows.
        in_bytes: whether it is bytes, which are then shown instead of a percentage.

    Yields:
        a function that takes by how much the work advanced.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, FileSizeColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Sequence[Any] = ()  # The usual ones.
    if in_bytes:
        text = TextColumn("{task.description}")
        columns = (text, BarColumn(), FileSizeColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        # A task that has not started moves without an end.
        task = bar.add_task(label, total=total or 0, start=total is not None)
        yield lambda amount: bar.advance(task, amount)


def _print_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout).print(table)


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
