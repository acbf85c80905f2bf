"""``ovl1 adopt``: an existing store becomes the plugin's, and Docker's again."""

from __future__ import annotations

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.plugin import adopt
from ovl1.plugin.adopt import NAME, HandOver
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY2


@click.command(
    short_help="Hand an existing store to the plugin, and back.",
    epilog=examples("ovl1 adopt", "ovl1 --data-root /mnt/docker adopt", "ovl1 adopt --undo"),
)
@click.option("--undo", is_flag=True, help="Hand it back to Docker's own driver.")
@click.option(
    "--name",
    default=NAME,
    show_default=True,
    help="The plugin's, which is that of its socket without .sock.",
)
@json_option
@click.pass_obj
def command(context: Context, *, undo: bool, name: str) -> None:
    """Hand the data-root's store to the plugin, so that Docker 24 to 27 run on it.

    Images, containers and their data stay what and where they are: two directories get the
    plugin's name, and each container's configuration names it. Docker must be stopped. If it is
    interrupted, run it again, or take it back with --undo; until then do not start Docker.
    """
    if undo:
        done = adopt.undo(context.data_root, name)
    else:
        done = adopt.adopt(context.data_root, _driver(context, name), name)
    values = {
        "data_root": str(done.data_root),
        "from": done.old,
        "to": done.new,
        "containers": len(done.containers),
    }
    context.say(
        values,
        f"The store of {done.old} in {done.data_root} is now {done.new}'s, with "
        f"{len(done.containers)} container(s).",
    )
    if not context.quiet and not context.as_json:
        output.remark(_next(done, undone=undo))


def _driver(context: Context, name: str) -> str:
    """The store that is meant; after an interruption only the journal knows."""
    root = discover(context.data_root).path
    begun = adopt.unfinished(root)
    if begun is not None and name in (begun.old, begun.new):
        return begun.old if begun.new == name else begun.new
    return context.layout().driver


def _next(done: HandOver, *, undone: bool) -> str:
    if undone:
        return f'Next: set "storage-driver": "{done.new}" in daemon.json, and start Docker.'
    layout = "overlay2" if done.layout == OVERLAY2 else "overlay1"
    return (
        f"Next: run `ovl1 serve --layout {layout}` before Docker (tools/systemd has a unit), set "
        f'"storage-driver": "{done.new}" and "experimental": true in daemon.json, and start '
        "Docker 1.13 to 26; 27 also needs DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1 in its "
        "environment, 28 has no such plugins. To go back: stop Docker, `ovl1 adopt --undo`."
    )
