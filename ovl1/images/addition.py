"""Images that are being added to a store: all of an archive comes in, or nothing of it.

What is going to be made is noted durably before it is made, below Docker's own staging directory
``layerdb/tmp``. Names are written last; their note is the point of no return: whoever finds it
finishes, whoever finds a note without it takes everything back. So a kill leaves either the old
store or the new one, as soon as the next writer has called `recover`. The caller holds the store's
lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set

from ovl1.closing import Closing
from ovl1.driver.base import Driver
from ovl1.linux import durable
from ovl1.model import ChainId, DiffId, ImageId, LayerId
from ovl1.store import writer
from ovl1.store.imagedb import chain_ids, read_images
from ovl1.store.layerdb import LayerTable, read_layers
from ovl1.store.layout import Layout

_AREA, _NOTES = "ovl1-adding", "notes"
_LAYER, _IMAGE, _NAMES, _CHILDLESS = "layer", "image", "names", "childless"


@dataclass(frozen=True)
class NewLayer:
    """A layer whose tree is made, and which has no record yet."""

    parent: Optional[ChainId]
    diff_id: DiffId
    cache_id: LayerId
    size: int
    """Bytes, as Docker counts them for this driver."""
    tar_split: Path

    @property
    def chain_id(self) -> ChainId:
        """Its name together with what is below it."""
        return ChainId.of(self.parent, self.diff_id)


class Addition(Closing):
    """What is being added; a context manager that takes it back unless `commit` was called."""

    def __init__(self, driver: Driver) -> None:
        recover(driver)
        self._driver = driver
        self._layout = driver.layout
        self._area = _area(self._layout)
        self._known = read_layers(self._layout)
        self._new: Dict[ChainId, NewLayer] = {}
        self._images: Dict[ImageId, bytes] = {}
        self._names: Dict[str, ImageId] = {}
        self._area.mkdir(0o700, parents=True)
        durable.sync_directory(self._area.parent)

    def close(self) -> None:
        """Take back what was not committed; idempotent."""
        recover(self._driver)

    def has(self, chain_id: ChainId) -> bool:
        """Whether the store has that layer, or is about to have it."""
        return chain_id in self._known.layers or chain_id in self._new

    def cache_id(self, chain_id: ChainId) -> LayerId:
        """The driver's name of a layer that `has` said is there."""
        if chain_id in self._new:
            return self._new[chain_id].cache_id
        return self._known.layers[chain_id].cache_id

    @contextlib.contextmanager
    def making(self, below: Optional[LayerId]) -> Iterator[LayerId]:
        """The id of a layer to be made in the block; if the block fails, it is gone again.

        Args:
            below: what it is going to stand on; overlay2 marks a layer that has children.
        """
        cache_id = LayerId(os.urandom(32).hex())
        if below is not None and not self._layout.committed(below).exists():
            self._note({_CHILDLESS: below})
        self._note({_LAYER: cache_id})
        try:
            yield cache_id
        except BaseException:
            self._driver.remove(cache_id)
            raise

    def tar_split(self, cache_id: LayerId) -> Path:
        """Where the tar-split file of a new layer is to be made."""
        return self._area / f"{cache_id}.json.gz"

    def add_layer(self, layer: NewLayer) -> None:
        """Take up a layer that has been made; what is below it came before."""
        self._new[layer.chain_id] = layer

    def add_image(self, image_id: ImageId, config: bytes, names: List[str]) -> None:
        """Take up an image whose layers are there or have been added; a name may move to it."""
        self._images[image_id] = config
        self._names.update((name, image_id) for name in names)

    def commit(self) -> None:
        """Enter everything into the store; durable.

        Raises:
            OvlError: something cannot be entered; all of it is taken back.
        """
        for image_id in self._images:
            if not self._layout.image_config(image_id).exists():
                self._note({_IMAGE: image_id})
        for layer in self._new.values():
            writer.register_layer(
                self._layout,
                parent=layer.parent,
                diff_id=layer.diff_id,
                cache_id=layer.cache_id,
                size=layer.size,
                tar_split=layer.tar_split,
                staging=self._area,
            )
        for config in self._images.values():
            writer.write_image(self._layout, config)
        self._note({_NAMES: self._names})
        recover(self._driver)

    def _note(self, note: Dict[str, Any]) -> None:
        durable.append_line(self._area / _NOTES, json.dumps(note).encode())


def recover(driver: Driver) -> None:
    """Finish an addition that was interrupted after its names were noted, or take it back.

    Idempotent, and may itself be interrupted. Does nothing if there is none.
    """
    layout = driver.layout
    area = _area(layout)
    if not area.exists():
        return
    notes = _notes(area)
    committed = [note[_NAMES] for note in notes if _NAMES in note]
    if committed:
        writer.tag_images(layout, {name: ImageId(text) for name, text in committed[0].items()})
    else:
        _take_back(driver, notes)
    shutil.rmtree(area)
    durable.sync_directory(area.parent)


def _take_back(driver: Driver, notes: List[Dict[str, Any]]) -> None:
    layout = driver.layout
    for note in notes:
        if _IMAGE in note:
            writer.remove_image(layout, ImageId(note[_IMAGE]))
    made = {LayerId.parse(note[_LAYER]) for note in notes if _LAYER in note}
    kept = _used(layout)
    table = read_layers(layout)
    for chain_id in _top_first(table):
        record = table.layers[chain_id]
        if record.cache_id in made:
            if chain_id in kept:
                made.discard(record.cache_id)
            else:
                writer.unregister_layer(layout, chain_id, staging=_area(layout))
    for layer_id in sorted(made):
        driver.remove(layer_id)
    for note in notes:
        if _CHILDLESS in note:
            with contextlib.suppress(FileNotFoundError):
                layout.committed(LayerId.parse(note[_CHILDLESS])).unlink()


def _used(layout: Layout) -> Set[ChainId]:
    images = read_images(layout).images.values()
    return {chain_id for image in images for chain_id in chain_ids(image.diff_ids)}


def _top_first(table: LayerTable) -> List[ChainId]:
    return sorted(table.layers, key=table.depth, reverse=True)


def _notes(area: Path) -> List[Dict[str, Any]]:
    try:
        lines = (area / _NOTES).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    # What has no newline was being written when it ended, so nothing of it was done.
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _area(layout: Layout) -> Path:
    return layout.staging / _AREA
