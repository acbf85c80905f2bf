"""``ovl1 bench``: what the layouts take, measured on file systems that are gone after."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import click

from ovl1.bench import plot
from ovl1.bench.archive import NAME, write_archive
from ovl1.bench.inodes import Wish, measure
from ovl1.bench.results import Result
from ovl1.bench.steps import Source
from ovl1.bench.synthetic import Image, Shape
from ovl1.cli import output
from ovl1.cli.bench.options import MadeUp, Outputs, made_up, outputs, wish
from ovl1.cli.bench.tables import as_csv, show, values
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.held import signals_held
from ovl1.cli.inodes.archives import opened
from ovl1.errors import CheckFailed, NotPossibleHere, WrongUsage
from ovl1.images.blobs import TarBlobs
from ovl1.images.load import read_images
from ovl1.images.ocilayout import Platform
from ovl1.layer.policy import Policy

_EPILOG = examples(
    "ovl1 bench inodes --layers 20 --files 5000 --change 0.02",
    "ovl1 bench inodes app.tar --fs ext4 --docker --csv inodes.csv --plot inodes.svg",
    "ovl1 bench inodes --layers 100 --at 1,10,50,100 --json",
)


class _Given(NamedTuple):
    """The images, and what there is to say of them."""

    sources: List[Source]
    about: Dict[str, Any]
    title: str


@click.group(epilog=_EPILOG, short_help="Inodes of each layout, measured.")
def command() -> None:
    """Build images in each layout, on file systems made for it, and measure what that takes."""


@command.command(epilog=_EPILOG, short_help="Inodes of images, layer by layer, in each layout.")
@click.argument("archives", metavar="[ARCHIVE|DIR...]", nargs=-1, type=click.Path())
@made_up
@wish
@outputs
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="As for `ovl1 image load`.")
@json_option
@click.pass_obj
def inodes(
    context: Context,
    *,
    archives: Tuple[str, ...],
    made_up: MadeUp,
    wish: Wish,
    outputs: Outputs,
    platform: Optional[str],
) -> None:
    """Build images in each layout, layer by layer, and compare the inodes with the prediction.

    The images are those of archives that `ovl1 image load` takes, or one that is made up from a few
    numbers. Each layout gets a new file system in a file; after each layer the file system is asked
    how many inodes it uses. vfs and ideal are only predicted, and without --docker so are Docker's
    layouts if they are asked for. Needs root and loop devices; touches nothing else and cleans up
    after itself.

    Exit code 1 if a single figure is not what was predicted.
    """
    if os.geteuid() != 0:
        raise NotPossibleHere(
            "the benchmark mounts file systems of its own, which needs root",
            resolution="Run the same command with sudo.",
        )
    with contextlib.ExitStack() as stack:
        if archives:
            if made_up.given:
                raise WrongUsage(f"{made_up.given[0]} is for an image that is made up, not given")
            wanted = Platform.parse(platform) if platform else Platform.of_this_machine()
            given = _archived(archives, wanted, wish.policy, stack)
        else:
            given = stack.enter_context(_made_up(context, made_up, wish.directory))
        with signals_held() as check, phases(context) as bar:

            def progress(phase: str, done: int, total: int) -> None:
                check()
                bar(phase, done, total)

            result = measure(given.sources, wish, progress=progress)
    _tell(context, result, given, wish, outputs)


def _archived(
    names: Sequence[str], platform: Platform, policy: Policy, stack: contextlib.ExitStack
) -> _Given:
    """The images of archives, which stay open as long as the stack is."""
    sources: List[Source] = []
    for name in names:
        blobs = stack.enter_context(opened(name, policy))
        for image in read_images(blobs, platform, max_bytes=policy.max_bytes):
            called = image.names[0] if image.names else f"{name}, image {len(sources)}"
            sources.append(Source(called, blobs, image))
    return _Given(sources, {"archives": list(names)}, ", ".join(s.name for s in sources))


@contextlib.contextmanager
def _made_up(context: Context, wanted: MadeUp, directory: Path) -> Iterator[_Given]:
    with _archive_file(wanted.save, directory) as file:
        with phases(context) as progress:
            write_archive(Image(wanted.shape), file, progress=progress)
        file.seek(0)
        with TarBlobs(file) as blobs:
            images = read_images(blobs, Platform("linux", "amd64"))
            shape = dataclasses.asdict(wanted.shape)
            yield _Given([Source(NAME, blobs, images[0])], {"made_up": shape}, _words(wanted.shape))


@contextlib.contextmanager
def _archive_file(save: Optional[Path], directory: Path) -> Iterator[BinaryIO]:
    if save is None:
        with tempfile.TemporaryFile(dir=directory) as file:
            yield file
        return
    try:
        kept = save.open("w+b")
    except OSError as error:
        raise WrongUsage(f"{save} cannot be written: {error.strerror}") from error
    with kept:
        yield kept


def _words(shape: Shape) -> str:
    return (
        f"{shape.files} files, {shape.directories} directories and {shape.symlinks} symbolic "
        f"links; each further layer modifies {shape.part(shape.change)} files, adds "
        f"{shape.part(shape.add)} and deletes {shape.part(shape.delete)} (seed {shape.seed})"
    )


def _tell(context: Context, result: Result, given: _Given, wish: Wish, outputs: Outputs) -> None:
    if outputs.csv is not None:
        outputs.csv.write_text(as_csv(result))
    if outputs.plot is not None:
        plot.draw(result, given.title, outputs.plot)
    if context.as_json:
        about = {**given.about, "dockerd": wish.dockerd.version if wish.dockerd else None}
        output.print_json(values(result, given.sources, about))
    else:
        click.echo(output.escaped(given.title) + "\n")
        show(result, given.sources)
    if result.differences:
        raise CheckFailed(
            f"{result.differences} figures are not what was predicted",
            details="Either the prediction is wrong, or something else wrote to the file system.",
            resolution="If it happens again, please report it together with the command.",
        )
