"""The store whose images a command changes, and images as people name them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, TypeVar

import click

from ovl1.cli import output
from ovl1.cli.alone import alone
from ovl1.cli.context import Context
from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.errors import OvlError, Refused
from ovl1.images import pending
from ovl1.layer.policy import Policy
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store

_SUB_ROOT = re.compile(r"[1-9][0-9]*\.[0-9]+")

F = TypeVar("F", bound=Callable[..., Any])


@contextlib.contextmanager
def writing(
    context: Context, *, new: bool = False, policy: Optional[Policy] = None
) -> Iterator[Driver]:
    """The driver of the store that the options name, for one who is alone with it.

    Args:
        new: make a store if the data-root holds none of any driver; it is gone again if the
            block fails.
        policy: what applying a layer allows.

    Raises:
        Refused: a daemon, or another ovl1 command, works on it.
        WrongUsage: there is no such store.
    """
    layout = context.layout()
    with alone(layout.data_root), contextlib.ExitStack() as stack:
        is_new = new and not discover(layout.data_root).stores
        if is_new:
            stack.enter_context(_new_store(layout))
        else:
            Store.open(layout.data_root, layout.driver)
        # Whatever is made is synced before the store names it.
        driver = open_driver(layout.data_root, layout.driver, policy=policy, sync=False)
        pending.recover(driver)
        yield driver
    if is_new and not context.quiet:
        output.remark(f"made a new {layout.driver} store in {layout.data_root}")


@contextlib.contextmanager
def _new_store(layout: Layout) -> Iterator[None]:
    """An empty store, which is gone again if the block fails."""
    made = [layout.home, layout.image.parent, layout.containers]
    made = [path for path in made if not path.exists()]
    create_store(layout)
    try:
        yield
    except BaseException:
        for path in made:
            shutil.rmtree(path)
        raise


def refuse_user_namespace(context: Context) -> None:
    """Refuse what would give files to others than their owners.

    Raises:
        Refused: the data-root is that of a user namespace.
    """
    data_root = context.layout().data_root
    if _SUB_ROOT.fullmatch(data_root.name):
        raise Refused(
            f"{data_root} is the data-root of a user namespace",
            details="All owners in it are shifted (dockerd --userns-remap), which ovl1 does not "
            "do with what it unpacks or exports.",
            resolution="`ovl1 image save` works on it; load what it saves elsewhere.",
        )


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
