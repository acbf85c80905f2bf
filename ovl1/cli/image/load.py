"""``ovl1 image load`` and ``import``: images out of archives, without a daemon."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from pathlib import Path
from typing import BinaryIO, Iterator, Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.files import STDOUT, watched
from ovl1.cli.image.home import refuse_user_namespace, writing
from ovl1.cli.limits import limits
from ovl1.errors import WrongUsage
from ovl1.images.blobs import Blobs
from ovl1.images.importing import About, import_tar
from ovl1.images.load import Loaded, read_images
from ovl1.images.load import load as load_images
from ovl1.images.ocilayout import Platform
from ovl1.images.source import open_directory, open_tar
from ovl1.layer.policy import Policy

_PLATFORM = click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="What the image must run on.  [default: this machine]",
)


@click.command(
    short_help="Load images from an archive.",
    epilog=examples(
        "ovl1 image load app.tar.gz",
        "docker save app:1 | ovl1 --data-root /mnt/old image load -",
        "ovl1 --data-root /mnt/new --driver overlay2 image load layout/ --platform linux/arm64",
    ),
)
@click.argument("file", metavar="FILE|DIR|-", type=click.Path())
@_PLATFORM
@limits
@json_option
@click.pass_obj
def load(context: Context, *, file: str, platform: Optional[str], policy: Policy) -> None:
    """Load all images of an archive, as `docker load` does: all of them, or none.

    The archive is a tar that `docker save` wrote, of any version, or an OCI image layout, as a tar
    or a directory; - is standard input. A tar may be compressed (gzip, bzip2, xz, zstd). A
    data-root without any store gets one, of the overlay driver or that given with --driver.
    """
    refuse_user_namespace(context)
    wanted = Platform.parse(platform) if platform else Platform.of_this_machine()
    with writing(context, new=True, policy=policy) as driver, _archive(
        file, driver.layout.data_root, policy
    ) as blobs, phases(context) as progress:
        images = read_images(blobs, wanted, max_bytes=policy.max_bytes)
        loaded = load_images(driver, blobs, images, progress=progress)
    _tell(context, loaded)


@click.command(
    "import",
    short_help="Make an image of a root file system's tar.",
    epilog=examples(
        "ovl1 image import rootfs.tar.xz debian:12",
        "tar -C /mnt/root -c . | ovl1 image import - rescued:1 --message 'from the old disk'",
    ),
)
@click.argument("file", metavar="FILE|-", type=click.File("rb"))
@click.argument("name", metavar="[NAME[:TAG]]", required=False)
@click.option("-m", "--message", default="", help="A comment for the image's history.")
@_PLATFORM
@limits
@json_option
@click.pass_obj
def import_(
    context: Context,
    *,
    file: BinaryIO,
    name: Optional[str],
    message: str,
    platform: Optional[str],
    policy: Policy,
) -> None:
    """Make an image of one layer from the tar of a root file system, as `docker import` does.

    The tar may be compressed (gzip, bzip2, xz, zstd); - is standard input.
    """
    _refuse_terminal(file)
    refuse_user_namespace(context)
    wanted = Platform.parse(platform) if platform else Platform.of_this_machine()
    about = About(now(), comment=message or f"Imported from {file.name}")
    with writing(context, new=True, policy=policy) as driver, watched(
        file, "Importing", quiet=context.quiet or context.as_json
    ) as tar:
        made = import_tar(driver, tar, [name] if name else [], platform=wanted, about=about)
    for warning in made.applied.warnings:
        output.remark(f"warning: {warning}")
    values = {"id": made.image_id, "tags": list(made.names), "size": made.applied.size}
    context.say(values, made.image_id)


def now() -> str:
    """The present time as RFC 3339 writes it, in UTC."""
    whole, part = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{part:09d}Z"


@contextlib.contextmanager
def _archive(name: str, scratch: Path, policy: Policy) -> Iterator[Blobs]:
    path = Path(name)
    if name != STDOUT and path.is_dir():
        with open_directory(path) as blobs:
            yield blobs
        return
    with contextlib.ExitStack() as stack:
        if name == STDOUT:
            file: BinaryIO = sys.stdin.buffer
            _refuse_terminal(file)
        else:
            try:
                file = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise WrongUsage(f"{name} cannot be read: {error.strerror}") from error
        yield stack.enter_context(open_tar(file, scratch, max_bytes=policy.max_bytes))


def _refuse_terminal(file: BinaryIO) -> None:
    if file.isatty():
        raise WrongUsage("a tar cannot be typed in: redirect standard input")


def _tell(context: Context, loaded: Loaded) -> None:
    for warning in loaded.warnings:
        output.remark(f"warning: {warning}")
    if context.as_json:
        values = dataclasses.asdict(loaded)
        values["images"] = [
            {"id": image_id, "tags": list(names)} for image_id, names in loaded.images
        ]
        output.print_json(values)
        return
    for image_id, names in loaded.images:
        if context.quiet:
            click.echo(image_id)
            continue
        for name in names:
            click.echo(f"Loaded image: {name}")
        if not names:
            click.echo(f"Loaded image ID: {image_id}")
    if not context.quiet:
        output.remark(
            f"{loaded.new_layers} layers ({output.human_size(loaded.size)}) are new, "
            f"{loaded.known_layers} were there."
        )
