"""Notes of a change to a store's images, so that a kill leaves either the old store or the new one.

What is going to be made is noted durably before it is made, below Docker's own staging directory
``layerdb/tmp``. Names are written last; their note is the point of no return: whoever finds it
finishes, whoever finds a note without it takes everything back. Removing images is the same thing:
all that is to go is noted in one step, as if it had just been made, and is then taken back. The
caller holds the store's lock; every change begins with `recover`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Set

from ovl1.driver.base import Driver
from ovl1.linux import durable
from ovl1.model import DiffId, Digest, ImageId, LayerId
from ovl1.store import naming, writer
from ovl1.store.layout import Layout
from ovl1.store.needed import needed_layers
from ovl1.store.references import read_references
from ovl1.store.store import Store

_AREA, _NOTES = "ovl1-adding", "notes"
_LAYER, _CHILDLESS, _IMAGE, _UNNAMED = "layer", "childless", "image", "unnamed"
_NAMES, _DIGESTS = "names", "digests"

Note = Dict[str, Any]


def area(layout: Layout) -> Path:
    """The directory of the change; what is needed only until its end may lie there."""
    return layout.staging / _AREA


def begin(driver: Driver) -> None:
    """Open the notes of a new change, once what was left of an earlier one is settled.

    Raises:
        BrokenStore: the change could not be finished; nothing was changed.
    """
    recover(driver)
    naming.check_names(driver.layout)
    area(driver.layout).mkdir(0o700, parents=True)
    durable.sync_directory(driver.layout.staging)


def note(layout: Layout, *notes: Note) -> None:
    """Add one of the notes below; durable when it returns."""
    for value in notes:
        durable.append_line(area(layout) / _NOTES, json.dumps(value).encode())


def begin_removal(driver: Driver, notes: Iterable[Note]) -> None:
    """Note all that is to be taken out, in one step: from then on `recover` does it."""
    begin(driver)
    lines = b"".join(json.dumps(value).encode() + b"\n" for value in notes)
    durable.write_file(area(driver.layout) / _NOTES, lines)


def new_layer(layer_id: LayerId) -> Note:
    """A tree that is new, as is its record if it has one."""
    return {_LAYER: layer_id}


def new_image(image_id: ImageId) -> Note:
    """An image that is new."""
    return {_IMAGE: image_id}


def childless(layer_id: LayerId) -> Note:
    """A layer on which nothing has stood so far; overlay2 marks those that have children."""
    return {_CHILDLESS: layer_id}


def unnamed(names: Iterable[str]) -> Note:
    """Names that are to go."""
    return {_UNNAMED: list(names)}


def named(names: Mapping[str, ImageId], digests: Mapping[DiffId, Digest]) -> Note:
    """Names to be given, and layers' digests; everything else of the change is done and stays."""
    return {_NAMES: dict(names), _DIGESTS: dict(digests)}


def recover(driver: Driver) -> None:
    """Finish a change that was interrupted after its last note, or take it back.

    Idempotent, and may itself be interrupted. Does nothing if there is none.
    """
    layout = driver.layout
    place = area(layout)
    if not place.exists():
        return
    notes = _read(place)
    committed = [value for value in notes if _NAMES in value]
    if committed:
        _finish(layout, committed[0])
    else:
        _take_back(driver, notes)
    shutil.rmtree(place)
    durable.sync_directory(place.parent)


def _finish(layout: Layout, last: Note) -> None:
    for diff_id, digest in last[_DIGESTS].items():
        writer.write_digest(layout, DiffId(diff_id), Digest(digest))
    naming.tag_images(layout, {name: ImageId(text) for name, text in last[_NAMES].items()})


def _take_back(driver: Driver, notes: List[Note]) -> None:
    layout = driver.layout
    naming.untag_images(layout, [name for value in notes for name in value.get(_UNNAMED, ())])
    known = read_references(layout)
    named = {*known.tags.values(), *known.digests.values()}
    for value in notes:
        # An engine that was at work since may have pulled the same image.
        if _IMAGE in value and value[_IMAGE] not in named:
            writer.remove_image(layout, ImageId(value[_IMAGE]))
    made = {LayerId.parse(value[_LAYER]) for value in notes if _LAYER in value}
    for layer_id in _unregister(layout, made):
        driver.remove(layer_id)
    for value in notes:
        if _CHILDLESS in value:
            with contextlib.suppress(FileNotFoundError):
                layout.committed(LayerId.parse(value[_CHILDLESS])).unlink()


def _unregister(layout: Layout, layers: Set[LayerId]) -> List[LayerId]:
    """Take out the records of those of the layers that nothing needs; their trees are to go."""
    parts = Store.of(layout).parts
    table = parts.layers
    kept = needed_layers(parts, layers)
    going = set(layers)
    for chain_id in sorted(table.layers, key=table.depth, reverse=True):
        record = table.layers[chain_id]
        if record.cache_id not in layers:
            continue
        if chain_id in kept:
            going.discard(record.cache_id)
        else:
            writer.unregister_layer(layout, chain_id, staging=area(layout))
    return sorted(going)


def _read(place: Path) -> List[Note]:
    try:
        lines = (place / _NOTES).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    # What has no newline was being written when it ended, so nothing of it was done.
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
