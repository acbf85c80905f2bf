"""``ovl1 container``: list, export, commit, without a daemon."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.files import STDOUT, tar_target
from ovl1.cli.image.home import refuse_user_namespace, writing
from ovl1.cli.image.load import now
from ovl1.cli.layer.home import opened
from ovl1.errors import BrokenStore, OvlError, WrongUsage
from ovl1.images import importing
from ovl1.store.containers import Container
from ovl1.store.layout import CONFIG
from ovl1.store.store import Store


def _complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> List[str]:
    """The names of containers that begin as the word being typed."""
    containers = Path(context.find_root().params["data_root"]) / "containers"
    found: List[str] = []
    for path in containers.glob(f"*/{CONFIG}"):
        with contextlib.suppress(OSError, ValueError, KeyError, OvlError):
            found.append(json.loads(path.read_bytes())["Name"].lstrip("/"))
    return sorted(name for name in found if name.startswith(incomplete))


_ARGUMENT = click.argument("container", shell_complete=_complete)


@click.group(
    short_help="List, export and commit containers.",
    epilog=examples(
        "ovl1 container ls",
        "ovl1 container export web -o web.tar",
        "ovl1 container commit web rescued/web:1",
    ),
)
def command() -> None:
    """What containers hold, out of a store that no daemon opens any more."""


@command.command("ls", epilog=examples("ovl1 container ls", "ovl1 container ls --json"))
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@json_option
@click.pass_obj
def ls(context: Context, *, no_trunc: bool) -> None:
    """List the containers of the store, whatever their state, as `docker ps -a` does."""
    store = context.store()
    containers = sorted(store.containers.values(), key=lambda found: found.name)
    if context.as_json:
        output.print_json([_as_json(store, container) for container in containers])
        return
    if context.quiet:
        for container in containers:
            click.echo(container.container_id if no_trunc else container.container_id[:12])
        return
    rows = [
        [
            container.container_id if no_trunc else container.container_id[:12],
            container.name,
            _image(store, container),
            container.status,
        ]
        for container in containers
    ]
    output.print_table(["CONTAINER ID", "NAME", "IMAGE", "STATE"], rows)


@command.command(
    short_help="Write a container's whole tree as a tar.",
    epilog=examples(
        "ovl1 container export web -o web.tar",
        "ovl1 --data-root /mnt/old container export 3f2a | tar -x -C /mnt/rescued",
    ),
)
@_ARGUMENT
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
def export(context: Context, *, container: str, target: str) -> None:
    """Write the whole tree of CONTAINER as a tar, byte for byte as `docker export` does.

    CONTAINER is a name or (the beginning of) an id. Volumes are not part of it. Nothing is mounted.
    """
    if target == STDOUT and context.as_json:
        raise WrongUsage("--json describes the tar, which must then go to a file: give -o FILE")
    refuse_user_namespace(context)
    size = 0
    with opened(context) as home:
        container_id = home.store.container(container).container_id
        mount = home.store.mounts.get(container_id)
        if mount is None:
            raise BrokenStore(f"container {container!r} has no layer in the store")
        with tar_target(target) as file, output.progress(
            "Exporting", None, quiet=context.quiet, in_bytes=True
        ) as advance:
            for chunk in home.driver.diff(mount.mount_id, None, docker=True):
                file.write(chunk)
                size += len(chunk)
                advance(len(chunk))
    if context.as_json:
        output.print_json({"id": container_id, "file": target, "bytes": size})


@command.command(
    short_help="Make an image of what a container has changed.",
    epilog=examples(
        "ovl1 container commit web rescued/web:1",
        "ovl1 container commit 3f2a web:2 --author 'Jo' --message 'before the disk died'",
    ),
)
@_ARGUMENT
@click.argument("name", metavar="[NAME[:TAG]]", required=False)
@click.option("-a", "--author", default="", help="Who is to be named in the image.")
@click.option("-m", "--message", default="", help="A comment for the image's history.")
@json_option
@click.pass_obj
def commit(
    context: Context, *, container: str, name: Optional[str], author: str, message: str
) -> None:
    """Make an image of CONTAINER: its own image and what it has changed, as `docker commit` does.

    CONTAINER is a name or (the beginning of) an id. The container stays as it is.
    """
    refuse_user_namespace(context)
    about = importing.About(now(), author, message)
    with writing(context) as driver:
        store = Store.of(driver.layout)
        found = store.container(container)
        if found.container_id not in store.mounts:
            raise WrongUsage(f"container {found.name} has no layer in the store")
        names = [name] if name else []
        made = importing.commit(driver, store, found.container_id, names, about=about)
    values = {"id": made.image_id, "tags": list(made.names), "size": made.applied.size}
    context.say(values, made.image_id)


def _image(store: Store, container: Container) -> str:
    if container.image_id is None:
        return "-"
    tags = store.references.tags_of(container.image_id)
    return tags[0] if tags else container.image_id.short


def _as_json(store: Store, container: Container) -> Dict[str, Any]:
    mount = store.mounts.get(container.container_id)
    return {
        "id": container.container_id,
        "name": container.name,
        "image": container.image_id,
        "image_tags": store.references.tags_of(container.image_id) if container.image_id else [],
        "state": container.status,
        "layer": mount.mount_id if mount else None,
        "init_layer": mount.init_id if mount else None,
    }
