"""``ovl1 demo``: the whole story on a small store, on a file system of its own that is gone after.

Here is what goes round the story, `ovl1.cli.demo.story`: the file system, and that nothing is left
behind: signals are held back, and looked for where nothing can be lost.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Iterator

import click

from ovl1.cli import output
from ovl1.cli.context import Context, json_option
from ovl1.cli.demo.story import Story
from ovl1.cli.held import signals_held
from ovl1.errors import CheckFailed, NotPossibleHere
from ovl1.linux import libc
from ovl1.linux.loopback import loop_file_system

_MS_BIND = 4096  # linux/mount.h
_EPILOG = """\b
Examples:
  sudo ovl1 demo
  sudo ovl1 demo --kind xfs --keep
"""


@click.command(epilog=_EPILOG, short_help="The whole story, on a small store made on the spot.")
@click.option(
    "--kind",
    type=click.Choice(["ext4", "xfs"]),
    default="ext4",
    show_default=True,
    help="The file system to do it on.",
)
@click.option("--keep", is_flag=True, help="Leave the file system mounted, to look around in it.")
@json_option
@click.pass_obj
def command(context: Context, *, kind: str, keep: bool) -> None:
    """Show what ovl1 does, on a small store made on the spot.

    An image of five layers is made from files of this machine and put into an overlay store on a
    file system of its own; a container changes it; its inodes are counted, its layers verified; it
    is migrated to overlay2, and the container is still what it was. Each figure is checked. Needs
    root and a loop device, no Docker; touches nothing else and cleans up after itself.
    """
    if os.geteuid() != 0:
        raise NotPossibleHere(
            "the demo mounts file systems of its own, which needs root",
            resolution="Type: sudo ovl1 demo",
        )
    began = time.monotonic()
    with signals_held() as check:
        story = Story(context, check)
        with _on_file_system(kind, keep=keep, story=story) as disk:
            story.tell(disk)
    story.figures["seconds"] = round(time.monotonic() - began, 1)
    story.say(f"\nAll {len(story.claims)} claims held, in {story.figures['seconds']} s.")
    if context.as_json:
        output.print_json({**story.figures, "kind": kind, "claims": story.claims})


@contextlib.contextmanager
def _on_file_system(kind: str, *, keep: bool, story: Story) -> Iterator[Path]:
    """The empty file system; it is kept also when a claim failed, but not otherwise."""
    with loop_file_system(kind, Path(tempfile.gettempdir())) as disk:
        try:
            yield disk
        except CheckFailed:
            if keep:
                _keep(disk, story)
            raise
        if keep:
            _keep(disk, story)


def _keep(disk: Path, story: Story) -> None:
    """A second mount outlives the first one, and the file goes with the last."""
    kept = Path(tempfile.mkdtemp(prefix="ovl1-demo-"))
    libc.mount(os.fspath(disk), os.fspath(kept), "none", _MS_BIND, "")
    story.figures["kept"] = str(kept)
    story.say(
        f"\nKept at {kept}; look at it with `ovl1 --data-root {kept}/docker info`, "
        f"remove it with `umount {kept} && rmdir {kept}`."
    )
