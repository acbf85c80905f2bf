"""``ovl1 layer changes``, ``diff`` and ``size``: what a layer did to its parent."""

from __future__ import annotations

import hashlib
import os
from typing import Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.files import STDOUT, tar_target
from ovl1.cli.layer.home import layer_argument, opened, parent_options
from ovl1.errors import WrongUsage

_DOCKER = click.option(
    "--docker",
    is_flag=True,
    help="Find only what Docker finds: a file of the same size and time counts as unchanged.",
)


@click.command(
    short_help="List what a layer added, changed and deleted.",
    epilog=examples(
        "ovl1 layer changes 4f1c",
        "ovl1 layer changes 4f1c --no-parent",
        "ovl1 layer changes 4f1c -z | grep -z '^D'",
    ),
)
@layer_argument
@parent_options
@_DOCKER
@click.option("-z", "--null", is_flag=True, help="Raw names, each line ended by a NUL byte.")
@json_option
@click.pass_obj
def changes(
    context: Context,
    *,
    layer: str,
    parent: Optional[str],
    no_parent: bool,
    docker: bool,
    null: bool,
) -> None:
    """List what the layer ID added (A), changed (C) and deleted (D), as `docker diff` does."""
    with opened(context) as home:
        layer_id = home.find(layer)
        below = home.parent(layer_id, parent, none=no_parent)
        found = home.driver.changes(layer_id, below, docker=docker)
    if context.as_json:
        output.print_json(
            [{"kind": change.kind.letter, "path": os.fsdecode(change.path)} for change in found]
        )
    elif null:
        for change in found:
            click.echo(b"%s %s\0" % (change.kind.letter.encode(), change.path), nl=False)
    else:
        for change in found:
            click.echo(f"{change.kind.letter} {output.escaped(os.fsdecode(change.path))}")


@click.command(
    short_help="Write what a layer changed as a tar.",
    epilog=examples(
        "ovl1 layer diff 4f1c -o layer.tar",
        "ovl1 layer diff 4f1c --no-parent | tar -tv",
        "ovl1 layer diff 4f1c | zstd > layer.tar.zst",
    ),
)
@layer_argument
@parent_options
@_DOCKER
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    default=STDOUT,
    help="Where to write the tar to; - is standard output.",
)
@json_option
@click.pass_obj
def diff(
    context: Context,
    *,
    layer: str,
    parent: Optional[str],
    no_parent: bool,
    docker: bool,
    target: str,
) -> None:
    """Write the changes of the layer ID as a tar; the same layer always gives the same bytes."""
    if target == STDOUT and context.as_json:
        raise WrongUsage("--json describes the tar, which must then go to a file: give -o FILE")
    size, digest = 0, hashlib.sha256()
    with opened(context) as home:
        layer_id = home.find(layer)
        below = home.parent(layer_id, parent, none=no_parent)
        with tar_target(target) as file, output.progress(
            "Writing", None, quiet=context.quiet or context.as_json, in_bytes=True
        ) as advance:
            for chunk in home.driver.diff(layer_id, below, docker=docker):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                advance(len(chunk))
    if context.as_json:
        output.print_json(
            {
                "id": layer_id,
                "parent": below,
                "file": target,
                "bytes": size,
                "diff_id": f"sha256:{digest.hexdigest()}",
            }
        )


@click.command(
    short_help="Bytes of what a layer added or changed.",
    epilog=examples("ovl1 layer size 4f1c", "ovl1 layer size 4f1c --json"),
)
@layer_argument
@parent_options
@json_option
@click.pass_obj
def size(context: Context, *, layer: str, parent: Optional[str], no_parent: bool) -> None:
    """Bytes of the files that the layer ID added or changed.

    A file with several names counts once.
    """
    with opened(context) as home:
        layer_id = home.find(layer)
        below = home.parent(layer_id, parent, none=no_parent)
        found = home.driver.diff_size(layer_id, below)
    values = {"id": layer_id, "parent": below, "size": found}
    context.say(values, str(found) if context.quiet else f"{found} ({output.human_size(found)})")
