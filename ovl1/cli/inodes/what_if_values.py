"""``ovl1 inodes free``, ``predict`` and ``forecast`` for programs: the keys of ``--json``.

Schema 1: keys are only ever added; what changes or goes raises the number. Each command's help has
the table of its keys, which stands here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Mapping

import click

from ovl1.inodes.forecast import Added, Forecast
from ovl1.inodes.free import Freed, Freeing, Going
from ovl1.inodes.lineage import DOCKER_OVERLAY, OVERLAY2
from ovl1.inodes.predict import Prediction, Total

SCHEMA = 1

FREE = {
    "schema": "1",
    "inodes, bytes": "what comes free on the file system",
    "shared_bytes": "of these, in blocks of several files (reflinks): freed with the last of them",
    "kept, kept_bytes": "inodes that lose names, and stay because of others",
    "parts": "the same by place: trees, records, images, containers; and directories, files",
    "images, containers": "ids of what goes",
    "layers": "chain ids of the image layers that go with them",
    "trees": "ids of the driver's layers that go alone",
    "moving": "whether the store was changed meanwhile",
}
PREDICT = {
    "schema": "1",
    "driver, home": "the store as it is: its layout, and inodes of the driver's home",
    "rest": "inodes of the data-root outside of the driver's home: they stay",
    "left_out": "layers in no figure but home, and overlay2 if that is by migrating",
    "moving": "whether the store was changed meanwhile",
    "layouts": "by layout: home, data_root (inodes; null if unknown), unknown (why)",
    "images": "id, tags, layers, inodes (by layout), factor (docker-overlay to overlay2, or null)",
}
FORECAST = {
    "schema": "1",
    "new_images, new_layers": "how many the archives bring",
    "known_layers": "how often a layer comes that is there",
    "store": "inodes of a store that has to be made first, in no other figure",
    "layouts": "by layout: inodes (null if refused), trees, driver, records, images, refused (why)",
    "layers": "each new layer: chain_id, inodes (of its tree, by layout)",
}


def described(keys: Mapping[str, str]) -> str:
    """A paragraph for a command's help."""
    lines = (click.wrap_text(f"{name}: {text}", 78, "  ", "      ") for name, text in keys.items())
    return "\b\nKeys of --json:\n" + "\n".join(lines)


def freeing_values(what: Going, freeing: Freeing) -> Dict[str, Any]:
    """What goes, and what that frees."""
    places = ("trees", "records", "images", "containers")
    return {
        "schema": SCHEMA,
        "inodes": freeing.inodes,
        "bytes": freeing.bytes,
        "shared_bytes": freeing.shared_bytes,
        "kept": freeing.kept,
        "kept_bytes": freeing.kept_bytes,
        "parts": {place: _freed(getattr(freeing, place)) for place in places},
        "images": list(what.images),
        "containers": list(what.containers),
        "layers": list(what.records),
        "trees": list(what.trees),
        "moving": freeing.moving,
    }


def _freed(part: Freed) -> Dict[str, int]:
    return {**dataclasses.asdict(part), "inodes": part.inodes}


def prediction_values(made: Prediction) -> Dict[str, Any]:
    """A store in several layouts."""
    return {
        "schema": SCHEMA,
        "driver": made.driver,
        "home": made.home,
        "rest": made.rest,
        "left_out": made.left_out,
        "moving": made.moving,
        "layouts": {layout: _total(made, total) for layout, total in made.layouts.items()},
        "images": [
            {
                "id": image.image_id,
                "tags": list(image.names),
                "layers": image.layers,
                "inodes": image.layouts,
                "factor": image.factor(DOCKER_OVERLAY, OVERLAY2),
            }
            for image in made.images
        ],
    }


def _total(made: Prediction, total: Total) -> Dict[str, Any]:
    return {
        "home": None if total.unknown else total.inodes,
        "data_root": None if total.unknown else total.inodes + made.rest,
        "unknown": total.unknown,
    }


def forecast_values(made: Forecast) -> Dict[str, Any]:
    """What would be added."""
    return {
        "schema": SCHEMA,
        "new_images": made.new_images,
        "new_layers": made.new_layers,
        "known_layers": made.known_layers,
        "store": made.store,
        "layouts": {layout: _added(added) for layout, added in made.layouts.items()},
        "layers": [{"chain_id": key, "inodes": figures} for key, figures in made.by_layer],
    }


def _added(added: Added) -> Dict[str, Any]:
    return {**dataclasses.asdict(added), "inodes": None if added.refused else added.inodes}
