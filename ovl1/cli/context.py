"""What every command is given, and the options that all commands share."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, TypeVar

import click

from ovl1.cli import output
from ovl1.model import Progress
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Context:
    """The global options, parsed; commands take it with `click.pass_obj`."""

    data_root: Path
    driver: Optional[str] = None
    """None: whichever store there is, overlay before overlay2."""
    as_json: bool = False
    verbosity: int = 0
    """Negative with -q, positive with -v."""

    @property
    def quiet(self) -> bool:
        """Whether only results are wanted: no progress, no remarks."""
        return self.verbosity < 0

    def layout(self) -> Layout:
        """Where the store that the options name lies, or would lie.

        Raises:
            OvlError: as `discover`.
            Refused: the data-root is half migrated.
        """
        found = discover(self.data_root)
        found.refuse_if_half_migrated()
        driver = self.driver
        if driver is None:
            drivers = found.drivers or [store.driver for store in found.stores]
            driver = OVERLAY2 if OVERLAY2 in drivers and OVERLAY not in drivers else OVERLAY
        return Layout(found.path, driver)

    def store(self) -> Store:
        """Read the store that the options name.

        Raises:
            OvlError: as `Store.open`.
        """
        layout = self.layout()
        return Store.open(layout.data_root, layout.driver)

    def say(self, values: Dict[str, Any], text: str) -> None:
        """Print a result: the values as JSON, or the text."""
        if self.as_json:
            output.print_json(values)
        else:
            click.echo(text)


def examples(*lines: str) -> str:
    """An epilog of a command's help, which click leaves as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def json_option(function: F) -> F:
    """Let a command take ``--json`` after its name, too: ``ovl1 info --json``."""
    option = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Print JSON instead of text.",
    )
    return option(function)


def _set_json(context: click.Context, _option: click.Parameter, value: object) -> None:
    if value and isinstance(context.obj, Context):
        context.obj = dataclasses.replace(context.obj, as_json=True)


@contextlib.contextmanager
def phases(context: Context) -> Iterator[Progress]:
    """What library code takes as `Progress`: a bar for each phase, one after the other."""
    with contextlib.ExitStack() as stack:
        advance: Dict[str, Callable[[int], None]] = {}
        reached = 0

        def told(phase: str, done: int, total: int) -> None:
            nonlocal reached
            if phase not in advance:
                stack.close()
                advance.clear()
                reached = 0
                bar = output.progress(phase, total, quiet=context.quiet or context.as_json)
                advance[phase] = stack.enter_context(bar)
            advance[phase](done - reached)
            reached = done

        yield told
