"""The options of ``ovl1 bench``, of which several make one value."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Tuple, TypeVar, cast

import click

from ovl1.bench import dockerd, plot
from ovl1.bench.disk import KINDS
from ovl1.bench.inodes import BY_DOCKER, Wish
from ovl1.bench.synthetic import Shape
from ovl1.cli.limits import limits
from ovl1.errors import WrongUsage
from ovl1.inodes.lineage import LAYOUTS
from ovl1.layer.policy import Policy

F = TypeVar("F", bound=Callable[..., Any])

_SHAPE = {
    "--layers": ("layers", "Layers of the image to make up."),
    "--files": ("files", "Files in its base."),
    "--dirs": ("directories", "Directories in its base."),
    "--symlinks": ("symlinks", "Symbolic links in its base."),
    "--change": ("change", "Part of the files that each further layer modifies."),
    "--add": ("add", "Part of the files that it adds."),
    "--delete": ("delete", "Part of the files that it deletes."),
    "--file-size": ("file_size", "Bytes of an average file."),
    "--seed": ("seed", "The same seed gives the same image, to the byte."),
}


class MadeUp(NamedTuple):
    """What image to make up."""

    shape: Shape
    given: Tuple[str, ...]
    """The options that say so."""
    save: Optional[Path]
    """Where to keep it."""


class Outputs(NamedTuple):
    """Where the figures go besides standard output."""

    csv: Optional[Path]
    plot: Optional[Path]


def made_up(function: F) -> F:
    """The options that say what image to make up, given to a command as a `MadeUp`."""

    @functools.wraps(function)
    def wrapped(*args: Any, save: Optional[Path], **kwargs: Any) -> Any:
        chosen = {field: kwargs.pop(field) for field, _ in _SHAPE.values()}
        given = [name for name, (field, _) in _SHAPE.items() if chosen[field] is not None]
        shape = Shape(**{field: value for field, value in chosen.items() if value is not None})
        made = MadeUp(shape, (*given, *(["--save"] if save else [])), save)
        return function(*args, made_up=made, **kwargs)

    command: Any = _file_option("--save", "save", "Keep the made-up image there.")(wrapped)
    for name, (field, about) in reversed(_SHAPE.items()):
        default = getattr(Shape, field)
        command = click.option(
            name, field, type=type(default), metavar="N", help=f"{about}  [default: {default}]"
        )(command)
    return cast(F, command)


def outputs(function: F) -> F:
    """The options that name files for figures, given to a command as `Outputs`."""

    @functools.wraps(function)
    def wrapped(*args: Any, csv: Optional[Path], plot_file: Optional[Path], **kwargs: Any) -> Any:
        for path in filter(None, (csv, plot_file)):
            if not path.absolute().parent.is_dir():
                raise WrongUsage(f"{path} cannot be written: its directory is not there")
        if plot_file is not None:
            plot.prepare(plot_file)
        return function(*args, outputs=Outputs(csv, plot_file), **kwargs)

    command = _file_option("--plot", "plot_file", "Draw them: .svg, .png or .pdf.")(wrapped)
    return cast(F, _file_option("--csv", "csv", "Write the figures.")(command))


def wish(function: F) -> F:
    """The options that say what to measure, given to a command as a `Wish`."""

    @_measured
    @limits
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        layouts: Tuple[str, ...],
        file_systems: Tuple[str, ...],
        at: Tuple[int, ...],
        docker: bool,
        directory: Optional[Path],
        policy: Policy,
        **kwargs: Any,
    ) -> Any:
        wanted = Wish(
            file_systems=list(dict.fromkeys(file_systems or ("ext4", "xfs"))),
            layouts=[name for name in layouts or LAYOUTS if layouts or docker or not _theirs(name)],
            directory=directory or Path(tempfile.gettempdir()),
            at=at,
            dockerd=dockerd.find() if docker else None,
            policy=policy,
        )
        return function(*args, wish=wanted, **kwargs)

    return cast(F, wrapped)


def _counts(
    _context: click.Context, _parameter: click.Parameter, value: Optional[str]
) -> Tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in value.split(",")) if value is not None else ()
    except ValueError:
        counts = (0,)
    if any(count < 1 for count in counts):
        raise click.BadParameter(f"{value!r} is no list of numbers of layers, such as 1,10,50")
    return counts


def _theirs(layout: str) -> bool:
    return layout in BY_DOCKER


def _measured(function: F) -> F:
    """The options of `wish`, one by one."""
    for option in (
        click.option(
            "--directory",
            metavar="DIR",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Where the file systems' sparse files lie.  [default: where temporary files do]",
        ),
        click.option(
            "--docker",
            is_flag=True,
            help="Build with Docker, too: its overlay and overlay2 drivers, in a dockerd of our "
            "own.",
        ),
        click.option(
            "--at",
            metavar="N,N...",
            callback=_counts,
            help="Measure only when an image has so many layers, and at its end.  "
            "[default: at each]",
        ),
        click.option(
            "--fs",
            "file_systems",
            multiple=True,
            type=click.Choice(KINDS),
            help="What to build on; may be given several times.  [default: ext4 and xfs]",
        ),
        click.option(
            "--layout",
            "layouts",
            multiple=True,
            type=click.Choice(LAYOUTS),
            help="Only this layout; may be given several times.",
        ),
    ):
        function = option(function)
    return function


def _file_option(name: str, field: str, about: str) -> Callable[[F], F]:
    kind: Any = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, field, metavar="FILE", type=kind, help=about)
