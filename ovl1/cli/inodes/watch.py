"""``ovl1 inodes watch``: file systems as they fill, until one says stop or a command has ended."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from typing import Iterator, Optional, Tuple

import click

from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.inodes.watch_command import Beside, ending
from ovl1.cli.inodes.watch_views import JsonView, LinesView, LiveView, View
from ovl1.errors import WrongUsage
from ovl1.inodes.watch import Watch, look

_PRESENT = 30.0
_FEWEST_TICKS = 10
"""The present rate is that of so many seconds, or ticks if that is longer."""


@click.command(
    short_help="Look on while the file systems fill.",
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "ovl1 inodes watch",
        "ovl1 inodes watch -- docker load -i app.tar",
        "ovl1 inodes watch --interval 10 --for 3600 --json",
    ),
)
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0.05),
    help="Look so often.",
)
@click.option(
    "--for",
    "limit",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="End after so long.",
)
@json_option
@click.argument("command", metavar="[COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def watch(
    context: Context, *, interval: float, limit: Optional[float], command: Tuple[str, ...]
) -> int:
    """Show how many inodes and bytes the file systems of the data-root have left, and how long.

    The rates are those of the last half minute. It ends on Ctrl-C, after --for SECONDS, or when
    COMMAND ends, whose exit code it passes on, and then sums up. What COMMAND prints goes to
    standard error, or above the view on a terminal. Ctrl-C is for COMMAND, too; a second one ends
    it.
    """
    if command and limit is not None:
        raise WrongUsage("--for and COMMAND exclude each other: the watch ends with COMMAND")
    layout = context.layout()
    watching = Watch(max(_PRESENT, _FEWEST_TICKS * interval))
    # Before the command has done anything; what cannot be looked at is told before it is started.
    watching.add(look(layout, time.monotonic()))
    with ending() as end, _view(context) as view:
        if command:
            end.command = Beside(command, view.show_line, end.over)
        try:
            view.tick(watching)
            for _ in ticks(end.over, interval, limit):
                watching.add(look(layout, time.monotonic()))
                view.tick(watching)
        finally:
            code = end.command.code() if end.command is not None else None
    view.summary(watching, code)
    return code or 0


def ticks(over: threading.Event, interval: float, limit: Optional[float]) -> Iterator[None]:
    """Come round after each `interval`, however long the caller takes, and when it is over.

    Args:
        over: is set when it is.
        interval: in seconds.
        limit: after how many seconds it is over; None if only `over` says.
    """
    begun = time.monotonic()
    number, ended = 0, False
    while not ended:
        number = max(number + 1, math.ceil((time.monotonic() - begun) / interval))
        until = number * interval
        ended = limit is not None and until >= limit
        if limit is not None and ended:
            until = limit
        ended = over.wait(max(begun + until - time.monotonic(), 0)) or ended
        yield


@contextlib.contextmanager
def _view(context: Context) -> Iterator[View]:
    if context.as_json:
        yield JsonView()
    elif sys.stdout.isatty():
        with LiveView() as view:
            yield view
    else:
        yield LinesView()
