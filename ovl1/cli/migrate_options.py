"""What the commands of ``ovl1 migrate`` have in common: options, and how they begin and stop."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, TypeVar

import click

from ovl1.cli.context import Context, phases
from ovl1.cli.stopping import stoppable
from ovl1.errors import HalfDone, WrongUsage
from ovl1.migrate import finish
from ovl1.model import Progress

F = TypeVar("F", bound=Callable[..., Any])

to_option = click.option(
    "--to",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Make a new data-root there, on whatever file system; this one is only read. "
    "Volumes and all else that is no driver's is copied, too.",
)

in_place_option = click.option(
    "--in-place",
    is_flag=True,
    help="Convert the layers themselves, for a disk without free inodes: next to none are needed, "
    "and no data is copied. The way back makes the old layers again.",
)

times_option = click.option(
    "--directory-times",
    type=click.Choice(["keep", "image"]),
    default="keep",
    show_default=True,
    help="Docker up to 17.11 gave every directory of a layer the time of its unpacking. 'keep' "
    "keeps what the old store shows, at an inode per such directory; 'image' goes back to the "
    "times in the image.",
)

strict_option = click.option(
    "--strict", is_flag=True, help="Refuse a store that has broken parts; else they are left out."
)


def check_modes(to: Optional[Path], *, in_place: bool) -> None:
    """Refuse options that contradict each other."""
    if to is not None and in_place:
        raise WrongUsage("--in-place and --to exclude each other", resolution="Give one of them.")


@contextlib.contextmanager
def changing(context: Context, data_root: Optional[Path] = None) -> Iterator[Progress]:
    """What a command that changes the store does its work in; gives it its `Progress`.

    Args:
        data_root: that of the migration, if it is another than the options name.

    Raises:
        HalfDone: a signal has stopped it; says what to run.
    """
    try:
        with stoppable(), phases(context) as progress:
            yield progress
    except KeyboardInterrupt as err:
        root = data_root or context.data_root
        found = finish.status(root) if root.is_dir() else None
        if found is None or not found.state:
            raise
        raise HalfDone(f"the migration was {found.words}", resolution=found.resolution) from err
