"""``ovl1 inodes free``, ``predict`` and ``forecast`` for people: tables, and what they mean."""

from __future__ import annotations

from typing import List, Sequence

import click

from ovl1.cli import output
from ovl1.inodes.forecast import Added, Forecast
from ovl1.inodes.free import Freed, Freeing, Going
from ovl1.inodes.lineage import ABOUT, DOCKER_OVERLAY, OVERLAY, OVERLAY2
from ovl1.inodes.predict import ImageFigures, Prediction, Total

_PARTS = (
    ("layers' trees", "trees", "what the layers hold, with the driver's files around it"),
    ("layer records", "records", "what the layer store keeps of each layer"),
    ("images", "images", "configurations and metadata"),
    ("containers", "containers", "configurations, logs and records, beside their layers"),
)
_MOVING = "The store was changed meanwhile: these figures are of no single moment."


def show_freeing(what: Going, freeing: Freeing) -> None:
    """What removing frees, by place."""
    rows = []
    for title, key, about in _PARTS:
        part: Freed = getattr(freeing, key)
        rows.append([title, str(part.inodes), output.human_size(part.bytes), about])
    rows.append(["together", str(freeing.inodes), output.human_size(freeing.bytes), _gone(what)])
    output.print_table(["FREED", ">INODES", ">BYTES", "WHAT IT IS"], rows)
    if freeing.kept:
        click.echo(
            f"\n{_counted(freeing.kept, 'inode')} ({output.human_size(freeing.kept_bytes)}) more, "
            "of which names go, but which stay: other layers have them as well."
        )
    if freeing.shared_bytes:
        click.echo(
            f"\n{output.human_size(freeing.shared_bytes)} of this are in blocks that several files "
            "share (reflinks), and come free only with the last of them."
        )
    if freeing.moving:
        click.echo(f"\n{_MOVING}")


def _gone(what: Going) -> str:
    counts = (
        (len(what.images), "image"),
        (len(what.containers), "container"),
        (len(what.records) + len(what.trees), "layer"),
    )
    return ", ".join(_counted(n, name) for n, name in counts if n) or "nothing"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def show_prediction(made: Prediction) -> None:
    """The store in each layout, then each image."""
    present = ["present", str(made.home), str(made.home + made.rest), f"the {made.driver} store"]
    rows = [_prediction_row(made, layout, total) for layout, total in made.layouts.items()]
    columns = ["LAYOUT", ">DRIVER'S HOME", ">DATA-ROOT", "WHAT IT IS"]
    output.print_table(columns, [present, *rows])
    if made.left_out:
        left_out = _counted(made.left_out, "layer")
        click.echo(
            f"\n{left_out} that no image or container needs: only where a store is as it is."
        )
    if made.moving:
        click.echo(f"\n{_MOVING}")
    if made.images:
        click.echo("\nInodes of images, each as if it were alone:")
        columns = [f">{layout.upper()}" for layout in made.layouts]
        rows = [_image_row(made, image) for image in made.images]
        output.print_table(["IMAGE", "NAMES", ">LAYERS", *columns, ">FACTOR"], rows)


def _prediction_row(made: Prediction, layout: str, total: Total) -> List[str]:
    if total.unknown:
        return [layout, "?", "?", f"cannot be told: {total.unknown}"]
    migrated = layout == OVERLAY2 and made.driver == OVERLAY
    about = "what `ovl1 migrate` makes, purged" if migrated else ABOUT[layout]
    return [layout, str(total.inodes), str(total.inodes + made.rest), about]


def _image_row(made: Prediction, image: ImageFigures) -> List[str]:
    factor = image.factor(DOCKER_OVERLAY, OVERLAY2)
    return [
        image.image_id.short,
        " ".join(image.names) or "-",
        str(image.layers),
        *(str(image.layouts.get(layout, "?")) for layout in made.layouts),
        f"{factor:.2f}" if factor is not None else "-",
    ]


def show_forecast(made: Forecast) -> None:
    """What each layout would take more."""
    new = f"{_counted(made.new_images, 'new image')}, {_counted(made.new_layers, 'new layer')}"
    known = f"; {_counted(made.known_layers, 'layer')} there already" if made.known_layers else ""
    click.echo(f"{new}{known}.")
    columns = ["LAYOUT", ">TREES", ">DRIVER", ">RECORDS", ">IMAGES", ">INODES", "WHAT IT IS"]
    output.print_table(columns, [_added_row(name, added) for name, added in made.layouts.items()])
    if made.store:
        click.echo(f"\n{made.store} more for the store itself, which is not there yet.")


def _added_row(layout: str, added: Added) -> Sequence[str]:
    if added.refused:
        return [layout, *["?"] * 5, f"cannot be loaded: {added.refused}"]
    figures = (added.trees, added.driver, added.records, added.images, added.inodes)
    return [layout, *map(str, figures), ABOUT[layout]]
