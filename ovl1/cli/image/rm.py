"""``ovl1 image rm``: images, and the layers that nothing needs without them."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.cli.freed import measured
from ovl1.cli.image.home import image_argument, writing
from ovl1.images.remove import Removal, plan_removal, remove
from ovl1.store.store import Store


@click.command(
    short_help="Remove images.",
    epilog=examples(
        "ovl1 image rm app:1",
        "ovl1 image rm --dry-run 3f2a91",
        "ovl1 image rm --force 3f2a91",
    ),
)
@image_argument
@click.option(
    "--force",
    is_flag=True,
    help="Even if stopped containers use it (their layers stay), or an id has several names.",
)
@click.option("--no-prune", is_flag=True, help="Keep the nameless steps it was built from.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@click.pass_obj
def rm(
    context: Context, *, images: Tuple[str, ...], force: bool, no_prune: bool, dry_run: bool
) -> None:
    """Remove each IMAGE, as `docker rmi` does: its name, and with the last name all of it.

    Layers that another image, a container or BuildKit's cache needs stay. Says how many inodes and
    bytes the file system has got back.
    """
    if dry_run:
        removal = plan_removal(context.store(), images, force=force, prune=not no_prune)
        _tell(context, removal, {"dry_run": True}, "Would remove")
        return
    with writing(context) as driver:
        removal = plan_removal(Store.of(driver.layout), images, force=force, prune=not no_prune)
        with measured(driver.layout.data_root) as freed:
            remove(driver, removal)
    _tell(context, removal, {"dry_run": False, **dataclasses.asdict(freed)}, "Removed")
    if not (context.as_json or context.quiet):
        click.echo(f"{freed}.")


def _tell(context: Context, removal: Removal, more: Dict[str, Any], did: str) -> None:
    if context.as_json:
        layers = [
            {"chain_id": record.chain_id, "cache_id": record.cache_id} for record in removal.layers
        ]
        values = {"untagged": list(removal.names), "images": list(removal.images)}
        output.print_json({**values, "layers": layers, "kept": list(removal.kept), **more})
        return
    for line in _lines(removal, did):
        click.echo(line)
    for remark in removal.kept:
        output.remark(remark)


def _lines(removal: Removal, did: str) -> List[str]:
    return [
        *(f"{did} name {name}" for name in removal.names),
        *(f"{did} image {image_id}" for image_id in removal.images),
        *(f"{did} layer {record.chain_id}" for record in removal.layers),
    ]
