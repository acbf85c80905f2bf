"""Images that are being added to a store: all of an archive comes in, or nothing of it.

See `ovl1.images.pending` for how that holds whenever it is killed. The caller holds the store's
lock.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, Mapping, Optional

from ovl1.closing import Closing
from ovl1.driver.base import Driver
from ovl1.errors import BrokenStore
from ovl1.images import pending
from ovl1.model import ChainId, DiffId, Digest, ImageId, LayerId
from ovl1.store import writer
from ovl1.store.layerdb import read_layers


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


@dataclass(frozen=True)
class NewImage:
    """An image to be entered."""

    config: bytes
    metadata: Mapping[str, bytes]
    """See `ovl1.store.writer.write_metadata`."""


class Addition(Closing):
    """What is being added; a context manager that takes it back unless `commit` was called."""

    def __init__(self, driver: Driver) -> None:
        pending.begin(driver)
        self._driver = driver
        self._layout = driver.layout
        self._known = read_layers(self._layout)
        self._new: Dict[ChainId, NewLayer] = {}
        self._images: Dict[ImageId, NewImage] = {}
        self._names: Dict[str, ImageId] = {}
        self._digests: Dict[DiffId, Digest] = {}

    def close(self) -> None:
        """Take back what was not committed; idempotent."""
        pending.recover(self._driver)

    @property
    def driver(self) -> Driver:
        """Of the store."""
        return self._driver

    def has(self, chain_id: ChainId) -> bool:
        """Whether the store has that layer, or is about to have it."""
        return chain_id in self._known.layers or chain_id in self._new

    def cache_id(self, chain_id: Optional[ChainId]) -> Optional[LayerId]:
        """The driver's name of a layer; None of none.

        Raises:
            BrokenStore: there is no such layer.
        """
        if chain_id is None:
            return None
        if chain_id in self._new:
            return self._new[chain_id].cache_id
        if chain_id in self._known.layers:
            return self._known.layers[chain_id].cache_id
        raise BrokenStore(f"layer {chain_id.short} is missing")

    def depth(self, chain_id: Optional[ChainId]) -> int:
        """How many layers there are from that one down; 0 of none."""
        count = 0
        while chain_id in self._new:
            count += 1
            chain_id = self._new[chain_id].parent
        return count + (self._known.depth(chain_id) if chain_id is not None else 0)

    @contextlib.contextmanager
    def making(self, below: Optional[LayerId]) -> Iterator[LayerId]:
        """The id of a layer to be made in the block; if the block fails, it is gone again.

        Args:
            below: what it is going to stand on.
        """
        cache_id = LayerId(os.urandom(32).hex())
        if below is not None and not self._layout.committed(below).exists():
            pending.note(self._layout, pending.childless(below))
        pending.note(self._layout, pending.new_layer(cache_id))
        try:
            yield cache_id
        except BaseException:
            self.drop(cache_id)
            raise

    def drop(self, cache_id: LayerId) -> None:
        """Give up a layer that was made after all."""
        self._driver.remove(cache_id)

    def tar_split(self, cache_id: LayerId) -> Path:
        """Where the tar-split file of a new layer is to be made."""
        return pending.area(self._layout) / f"{cache_id}.json.gz"

    def add_layer(self, layer: NewLayer) -> None:
        """Take up a layer that has been made; what is below it came before."""
        self._new[layer.chain_id] = layer

    def forget(self, chain_id: ChainId) -> None:
        """Give up a layer that was taken up, if it was; nothing stands on it."""
        layer = self._new.pop(chain_id, None)
        if layer is not None:
            self.drop(layer.cache_id)

    def add_digest(self, diff_id: DiffId, digest: Digest) -> None:
        """Take up that registries know a layer by the digest of its compressed tar."""
        self._digests[diff_id] = digest

    def add_image(
        self,
        image_id: ImageId,
        config: bytes,
        names: Iterable[str],
        metadata: Optional[Mapping[str, bytes]] = None,
    ) -> None:
        """Take up an image whose layers are there or have been added; a name may move to it."""
        self._images[image_id] = NewImage(config, metadata or {})
        self._names.update((name, image_id) for name in names)

    def commit(self) -> None:
        """Enter everything into the store; durable.

        Raises:
            OvlError: something cannot be entered; all of it is taken back.
        """
        for image_id in self._images:
            if not self._layout.image_config(image_id).exists():
                pending.note(self._layout, pending.new_image(image_id))
        for layer in self._new.values():
            writer.register_layer(
                self._layout,
                parent=layer.parent,
                diff_id=layer.diff_id,
                cache_id=layer.cache_id,
                size=layer.size,
                tar_split=layer.tar_split,
                staging=pending.area(self._layout),
            )
        for image_id, image in self._images.items():
            writer.write_metadata(self._layout, image_id, image.metadata)
            writer.write_image(self._layout, image.config)
        pending.note(self._layout, pending.named(self._names, self._digests))
        pending.recover(self._driver)
