"""``ovl1 image save``: images into an archive, as far as they are whole."""

from __future__ import annotations

import os
from typing import Dict, List, Sequence, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.files import STDOUT, tar_target
from ovl1.cli.image.home import complete
from ovl1.errors import BrokenStore, CheckFailed, WrongUsage
from ovl1.images.save import DOCKER, OCI, Saved, Unsaved
from ovl1.images.save import save as save_images
from ovl1.model import ImageId
from ovl1.store.imagedb import Image
from ovl1.store.references import familiar
from ovl1.store.store import Store


@click.command(
    short_help="Save images into an archive.",
    epilog=examples(
        "ovl1 image save app:1 -o app.tar",
        "ovl1 --data-root /mnt/old image save --all -o everything.tar",
        "ovl1 image save app:1 --format oci | zstd > app.oci.tar.zst",
    ),
)
@click.option("--all", "everything", is_flag=True, help="Every image that has a name.")
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    default=STDOUT,
    help="Where to write the archive to; - is standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([DOCKER, OCI]),
    default=DOCKER,
    show_default=True,
    help="docker: for `docker load` of any version since 1.10, an OCI layout as well; oci: only "
    "the layout.",
)
@click.argument("images", metavar="[IMAGE]...", nargs=-1, shell_complete=complete)
@json_option
@click.pass_obj
def save(
    context: Context, *, images: Tuple[str, ...], everything: bool, target: str, form: str
) -> None:
    """Save each IMAGE with its layers into one archive, as `docker save` does.

    Each layer is proved to be bit for bit what it was while it is written. An image that is not
    whole is left out and reported with the files at fault; the exit code is then 1.
    """
    if everything == bool(images):
        raise WrongUsage("give either the images to save, or --all")
    if target == STDOUT and context.as_json:
        raise WrongUsage("--json describes the archive, which must go to a file: give -o FILE")
    store = context.store()
    wanted = _everything(store) if everything else _chosen(store, images)
    with tar_target(target) as file, phases(context) as progress:
        saved = save_images(store, wanted, file, form=form, progress=progress)
        saved.unsaved += _lost(store) if everything else []
        if saved.unsaved and not saved.images:
            # Nothing that anybody could use; the target stays as it was.
            raise _incomplete(store, saved)
    if context.as_json:
        output.print_json(
            {
                "file": target,
                "format": form,
                "images": saved.images,
                "layers": saved.layers,
                "bytes": saved.size,
                "unsaved": [
                    {"id": each.image_id, "reason": each.reason.brief} for each in saved.unsaved
                ],
            }
        )
    if saved.unsaved:
        raise _incomplete(store, saved)


def _chosen(store: Store, texts: Sequence[str]) -> List[Tuple[Image, List[str]]]:
    """Each image once, with the names by which it was asked for, as `docker save` does."""
    chosen: Dict[ImageId, List[str]] = {}
    for text in texts:
        image = store.image(text)
        names = chosen.setdefault(image.image_id, [])
        name = familiar(text)
        if name in store.references.tags and name not in names:
            names.append(name)
    return [(store.images[image_id], names) for image_id, names in chosen.items()]


def _everything(store: Store) -> List[Tuple[Image, List[str]]]:
    named = sorted(set(store.references.tags.values()) & store.images.keys())
    return [(store.images[key], store.references.tags_of(key)) for key in named]


def _lost(store: Store) -> List[Unsaved]:
    """Images of which the names are left."""
    return [
        Unsaved(
            image_id,
            BrokenStore(
                "its configuration is missing or broken",
                details=os.fspath(store.layout.image_config(image_id)),
            ),
        )
        for image_id in sorted(set(store.references.tags.values()) - store.images.keys())
    ]


def _incomplete(store: Store, saved: Saved) -> CheckFailed:
    lines = []
    for each in saved.unsaved:
        called = ", ".join(store.references.tags_of(each.image_id)) or each.image_id.short
        lines.append(f"{called}: {each.reason.brief}")
        lines += [f"  {line}" for line in each.reason.details.splitlines()]
    total = len(saved.images) + len(saved.unsaved)
    return CheckFailed(
        f"{len(saved.unsaved)} of {total} images cannot be saved",
        details="\n".join(lines),
        resolution="Pull or build those again; the others are whole." if saved.images else "",
    )
