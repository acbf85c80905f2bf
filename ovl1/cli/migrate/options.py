"""What the commands of ``ovl1 migrate`` have in common: options, and how they begin and stop."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Optional, TypeVar, cast

import click

from ovl1.cli.context import Context, phases
from ovl1.cli.migrate.log import logged
from ovl1.cli.stopping import stoppable
from ovl1.errors import HalfDone, WrongUsage
from ovl1.linux import procs
from ovl1.migrate import finish
from ovl1.migrate.options import Options
from ovl1.migrate.squash.cut import MOST_LAYERS
from ovl1.model import Progress
from ovl1.store import daemonjson
from ovl1.store.acceptance import RELEASES

F = TypeVar("F", bound=Callable[..., Any])

_to_option = click.option(
    "--to",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Make a new data-root there, on whatever file system; this one is only read. "
    "Volumes and all else that is no driver's is copied, too.",
)

_in_place_option = click.option(
    "--in-place",
    is_flag=True,
    help="Convert the layers themselves, for a disk without free inodes: next to none are needed, "
    "and no data is copied. The way back makes the old layers again.",
)

_times_option = click.option(
    "--directory-times",
    type=click.Choice(["keep", "image"]),
    default="keep",
    show_default=True,
    help="Docker up to 17.11 gave every directory of a layer the time of its unpacking. 'keep' "
    "keeps what the old store shows, at an inode per such directory; 'image' goes back to the "
    "times in the image.",
)

_strict_option = click.option(
    "--strict", is_flag=True, help="Refuse a store that has broken parts; else they are left out."
)

_orphans_option = click.option(
    "--include-orphans",
    is_flag=True,
    help="Take along layers that no image or container refers to. What each stands on is found by "
    "the files that it shares; `plan` tells. Else they stay behind, and a purge deletes them.",
)

_squash_option = click.option(
    "--squash",
    is_flag=True,
    help=f"Of images with more than {MOST_LAYERS} layers, which Docker would not take today, make "
    "one layer of the lowest ones. They get new ids, and lose their names by digest; all others "
    "stay what they are. Not with --in-place.",
)

quick_option = click.option(
    "--quick",
    is_flag=True,
    help="Prove structure and metadata only: views are compared, contents are not read, and "
    "nothing is hashed. That is not enough for `purge`.",
)

certificate_option = click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep a copy of the certificate there, which outlives the purge.",
)

engine_option = click.option(
    "--engine",
    type=click.Choice(RELEASES),
    help="Check that this Docker will use the new store, and print what its daemon.json must say.",
)

_daemon_json_option = click.option(
    "--write-daemon-json",
    "daemon_json",
    metavar="[FILE]",
    is_flag=False,
    flag_value=str(daemonjson.DEFAULT),
    type=click.Path(path_type=Path, dir_okay=False),
    help="Name overlay2 (with --to also DIR) in that file, all else in it stays; the old one is "
    f"kept beside it, and put back by a rollback.  [FILE: {daemonjson.DEFAULT}]",
)


def wishes(function: F) -> F:
    """The options that `plan` and `run` have in common, which they take as `options`."""

    @functools.wraps(function)
    def gathered(
        *args: Any,
        to: Optional[Path],
        in_place: bool,
        directory_times: str,
        squash: bool,
        strict: bool,
        include_orphans: bool,
        daemon_json: Optional[Path],
        **kwargs: Any,
    ) -> Any:
        if to is not None and in_place:
            raise WrongUsage(
                "--in-place and --to exclude each other", resolution="Give one of them."
            )
        if squash and in_place:
            raise WrongUsage(
                "--in-place and --squash exclude each other",
                details="Layers that are converted where they are cannot be merged.",
                resolution="Leave out --in-place; `--to DIR` takes the inodes of another disk.",
            )
        options = Options(
            to=to,
            in_place=in_place,
            keep_directory_times=directory_times == "keep",
            squash=squash,
            strict=strict,
            include_orphans=include_orphans,
            daemon_json=daemon_json,
        )
        return function(*args, options=options, **kwargs)

    for option in (
        _daemon_json_option,
        _orphans_option,
        _strict_option,
        _squash_option,
        _times_option,
        _in_place_option,
        _to_option,
    ):
        gathered = option(gathered)
    return cast(F, gathered)


class Manners(NamedTuple):
    """How a command behaves while it works."""

    log: Optional[Path] = None
    nice: Optional[int] = None
    ionice: Optional[str] = None


def manners_options(function: F) -> F:
    """The options that make `Manners`, which the command takes as `manners`."""

    @functools.wraps(function)
    def gathered(
        *args: Any, log: Optional[Path], nice: Optional[int], ionice: Optional[str], **kwargs: Any
    ) -> Any:
        return function(*args, manners=Manners(log, nice, ionice), **kwargs)

    options = (
        click.option(
            "--ionice",
            type=click.Choice(procs.IO_CLASSES),
            help="Let others use the disk first (with I/O schedulers that know of it).",
        ),
        click.option(
            "--nice",
            metavar="N",
            type=click.IntRange(0, 19),
            help="Let others use the processors first; 19 is the most.",
        ),
        click.option(
            "--log",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Append every action to that file, with its time.",
        ),
    )
    for option in options:
        gathered = option(gathered)
    return cast(F, gathered)


@contextlib.contextmanager
def working(
    context: Context,
    what: str,
    manners: Manners,
    data_root: Optional[Path] = None,
    *,
    changes: bool = True,
) -> Iterator[Progress]:
    """What a command does its work in; gives it its `Progress`.

    Args:
        what: the command's name.
        data_root: that of the migration, if it is another than the options name.
        changes: whether a stop leaves something to be gone on with.

    Raises:
        HalfDone: a signal has stopped it while a migration was in progress; says what to run.
    """
    procs.work_gently(nice=manners.nice, ionice=manners.ionice)
    root = data_root or context.data_root
    with stoppable(), phases(context) as shown, logged(
        manners.log, f"{what} of {root}", shown
    ) as progress:
        try:
            yield progress
        except KeyboardInterrupt as err:
            if changes:
                _explain(root, err)
            raise


def _explain(root: Path, err: KeyboardInterrupt) -> None:
    found = finish.status(root) if root.is_dir() else None
    if found is not None and found.state:
        raise HalfDone(f"the migration was {found.words}", resolution=found.resolution) from err
