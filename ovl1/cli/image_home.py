"""The store whose images a command changes, and images as people name them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, TypeVar

import click

from ovl1.cli import output
from ovl1.cli.alone import alone
from ovl1.cli.context import Context
from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.errors import OvlError
from ovl1.images import pending
from ovl1.layer.policy import Policy
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store

F = TypeVar("F", bound=Callable[..., Any])


@contextlib.contextmanager
def writing(
    context: Context, *, new: bool = False, policy: Optional[Policy] = None
) -> Iterator[Driver]:
    """The driver of the store that the options name, for one who is alone with it.

    Args:
        new: make a store if the data-root holds none of any driver.
        policy: what applying a layer allows.

    Raises:
        Refused: a daemon, or another ovl1 command, works on it.
        WrongUsage: there is no such store.
    """
    layout = context.layout()
    with alone(layout.data_root):
        if new and not discover(layout.data_root).stores:
            create_store(layout)
            output.remark(f"made an empty {layout.driver} store in {layout.data_root}")
        else:
            Store.open(layout.data_root, layout.driver)
        # Whatever is made is synced before the store names it.
        driver = open_driver(layout.data_root, layout.driver, policy=policy, sync=False)
        pending.recover(driver)
        yield driver


def image_argument(function: F) -> F:
    """The arguments ``IMAGE...`` of a command."""
    return click.argument(
        "images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete
    )(function)


def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> List[str]:
    """The names of images that begin as the word being typed."""
    options = context.find_root().params
    drivers = [options["driver"]] if options.get("driver") else [OVERLAY, OVERLAY2]
    found: List[str] = []
    for driver in drivers:
        layout = Layout(Path(options["data_root"]), driver)
        with contextlib.suppress(OSError, ValueError, AttributeError, OvlError):
            known = json.loads(layout.repositories.read_bytes())["Repositories"]
            found += [name for names in known.values() for name in names]
    return sorted({name for name in found if name.startswith(incomplete)})
