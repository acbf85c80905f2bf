"""``ovl1 layer mount`` and ``umount``: looking into a layer, also beside a running daemon."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ovl1.cli.alone import daemons
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.layer.home import Home, layer_argument, opened
from ovl1.errors import Refused
from ovl1.linux import mounts
from ovl1.linux.procs import users_of
from ovl1.model import LayerId


@click.command(
    short_help="Mount a layer and print where.",
    epilog=examples("ovl1 layer mount 4f1c", 'ls -l "$(ovl1 layer mount 4f1c)/etc"'),
)
@layer_argument
@json_option
@click.pass_obj
def mount(context: Context, *, layer: str) -> None:
    """Mount the layer ID and print where its whole tree is to be seen.

    A layer of the overlay driver that is a complete tree by itself needs no mount.
    """
    with opened(context) as home:
        layer_id = home.find(layer)
        path = home.driver.get(layer_id)
    values = {"id": layer_id, "path": os.fspath(path), "mounted": _is_mounted(path)}
    context.say(values, os.fspath(path))


@click.command(
    short_help="Unmount a layer.",
    epilog=examples("ovl1 layer umount 4f1c", "ovl1 layer umount --lazy 4f1c"),
)
@layer_argument
@click.option("--lazy", is_flag=True, help="Even if processes use it; they keep what they see.")
@json_option
@click.pass_obj
def umount(context: Context, *, layer: str, lazy: bool) -> None:
    """Unmount the layer ID, once for each time it was mounted; more is fine."""
    with opened(context) as home:
        layer_id = home.find(layer)
        path = home.driver.layout.merged(layer_id)
        if _is_mounted(path):
            _refuse_container(home, layer_id)
            if not lazy:
                _refuse_used(layer_id, path)
            home.driver.put(layer_id)
        still = _is_mounted(path)
    context.say({"id": layer_id, "mounted": still}, "Still mounted." if still else "Unmounted.")


def _is_mounted(path: Path) -> bool:
    return any(point.path == os.fsencode(path) for point in mounts.mount_points())


def _refuse_container(home: Home, layer_id: LayerId) -> None:
    for record in home.store.mounts.values():
        container = home.store.containers.get(record.container_id)
        if layer_id != record.mount_id or container is None or not container.running:
            continue
        # What a daemon that was killed has left says nothing.
        if daemons(home.store.layout.data_root):
            raise Refused(
                f"container {container.name} runs on layer {layer_id.short}",
                details="The mount is its own, and goes when it stops.",
                resolution="Stop the container.",
            )


def _refuse_used(layer_id: LayerId, path: Path) -> None:
    users = users_of(path)
    if users:
        raise Refused(
            f"layer {layer_id.short} is in use",
            details="\n".join(f"process {user.pid} ({user.command}) {user.what}" for user in users),
            resolution="End the processes, or give --lazy: they keep what they see.",
        )
