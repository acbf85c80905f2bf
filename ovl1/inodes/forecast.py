"""What loading archives of images would add to a store, in each layout, without loading them.

Only the headers of the layers' tars are needed. Equal to the inode to what is then really made, if
no inode reaches its limit of links and the store stays as it is; see `ovl1.inodes.model`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import (
    BinaryIO,
    Callable,
    Collection,
    ContextManager,
    Dict,
    Iterator,
    List,
    Optional,
    Set,
    Tuple,
)

from ovl1.driver.convert import open_view
from ovl1.driver.overlay2 import driver_inodes
from ovl1.errors import LayerError
from ovl1.formats import tarstream, whiteouts
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.whiteouts import shown
from ovl1.inodes.lineage import (
    DOCKER_OVERLAY,
    DOCKER_OVERLAY2,
    IDEAL,
    LAYOUTS,
    OVERLAY,
    OVERLAY2,
    VFS,
    Lineages,
    recorded,
)
from ovl1.model import ChainId, DiffId, Digest, ImageId
from ovl1.store.layout import Layout
from ovl1.store.store import Store

_BY_DOCKER = (DOCKER_OVERLAY, DOCKER_OVERLAY2, VFS)
_NAMES = ("repositories.json",)
_LAYERDB = (("layerdb", "sha256"), ("layerdb", "tmp"))
"""Docker makes these when the first layer comes."""
_RECORD = 5
"""A layer's record: directory, cache-id, diff, size, tar-split.json.gz; a parent is one more."""

OpenTar = Callable[[], ContextManager[BinaryIO]]


@dataclass(frozen=True)
class ComingLayer:
    """A layer of an archive."""

    diff_id: DiffId
    open: OpenTar
    """Its tar, uncompressed, from the start."""
    digest: Optional[Digest] = None
    """The digest by which registries would know it, if the store is going to note that."""


@dataclass(frozen=True)
class ComingImage:
    """An image of an archive."""

    image_id: ImageId
    layers: Tuple[ComingLayer, ...]
    names: Tuple[str, ...] = ()
    metadata: Tuple[str, ...] = ()
    """Names of the files that ovl1 keeps beside the configuration."""
    has_parent: bool = False
    """Whether Docker notes from which other image of the archive it was built."""


@dataclass
class Added:
    """What a layout would take more."""

    trees: int = 0
    """Inodes of the layers' trees."""
    driver: int = 0
    """Of the driver's own directories and files around them."""
    records: int = 0
    """Of the layer store's records, and of the notes of digests."""
    images: int = 0
    """Of the images' configurations and metadata, and of a new list of names."""
    refused: str = ""
    """Why it cannot be loaded in this layout at all."""

    @property
    def inodes(self) -> int:
        """All of it."""
        return self.trees + self.driver + self.records + self.images


@dataclass
class Forecast:
    """What would be added, by layout."""

    layouts: Dict[str, Added]
    new_layers: int = 0
    known_layers: int = 0
    new_images: int = 0
    store: int = 0
    """Inodes of a store that has to be made first; in no other figure."""
    by_layer: List[Tuple[ChainId, Dict[str, int]]] = field(default_factory=list)
    """Each new layer, with the inodes of its tree in each layout."""


class Forecaster:
    """Takes the images of archives, one after the other; `forecast` says what that comes to.

    Args:
        store: where they would go; None if there is none, or as if it were empty.
        layouts: which ones are wanted.
    """

    def __init__(self, store: Optional[Store], layouts: Collection[str] = LAYOUTS) -> None:
        self.forecast = Forecast({layout: Added() for layout in LAYOUTS if layout in layouts})
        self._store = store
        self._lines = Lineages(layouts)
        self._new: Set[ChainId] = set()
        self._read: Set[ChainId] = set()
        self._replayed: Set[ChainId] = set()
        self._parents: Set[ChainId] = _with_children(store) if store is not None else set()
        self._images: Set[ImageId] = set(store.images) if store is not None else set()
        self._made: Set[Tuple[str, ...]] = set()

    def add(self, image: ComingImage) -> None:
        """Take up an image.

        Raises:
            LayerError: one of its layers is damaged.
            BrokenStore: the store lacks a layer's tree.
        """
        top: Optional[ChainId] = None
        for layer in image.layers:
            top = self._add_layer(top, layer)
        is_new = image.image_id not in self._images
        self._images.add(image.image_id)
        self.forecast.new_images += is_new
        names_file = self._new_paths(_NAMES) if image.names else 0
        home = ("imagedb", "metadata", "sha256", image.image_id.hex)
        kept = self._new_paths(
            *([home] if image.metadata else []), *((*home, n) for n in image.metadata)
        )
        for layout, added in self.forecast.layouts.items():
            added.images += is_new + names_file
            if layout not in _BY_DOCKER:
                added.images += kept
            elif is_new and image.has_parent:
                added.images += 2
        for layout, err in self._lines.refused.items():
            self.forecast.layouts[layout].refused = err.brief

    def _add_layer(self, parent: Optional[ChainId], layer: ComingLayer) -> ChainId:
        chain_id = ChainId.of(parent, layer.diff_id)
        if self._has(chain_id):
            self.forecast.known_layers += 1
            return chain_id
        if parent is not None and parent not in self._new:
            self._take_up(parent)
        with layer.open() as tar:
            figures = self._lines.add(chain_id, parent, headers(tar))
        self._new.add(chain_id)
        self.forecast.new_layers += 1
        self.forecast.by_layer.append((chain_id, figures))
        around = self._around(parent)
        records = _RECORD + (parent is not None) + self._new_paths(*_LAYERDB)
        digests = self._digest(layer)
        for layout, added in self.forecast.layouts.items():
            added.trees += figures.get(layout, 0)
            added.driver += around[layout]
            added.records += records + (0 if layout in _BY_DOCKER else digests)
        return chain_id

    def _has(self, chain_id: ChainId) -> bool:
        in_store = self._store is not None and chain_id in self._store.layers
        return in_store or chain_id in self._new

    def _take_up(self, chain_id: ChainId) -> None:
        """Begin with a layer that the store has: as it lies there, else as its tar makes it."""
        assert self._store is not None
        if chain_id in self._read:
            return
        self._read.add(chain_id)
        driver = self._store.layout.driver
        chain = self._store.parts.layers.chain(chain_id)
        try:
            for record in reversed(chain):
                if record.chain_id not in self._replayed:
                    self._replayed.add(record.chain_id)
                    entries = recorded(record)
                    self._lines.add(record.chain_id, record.parent, entries, without=driver)
        except LayerError as err:
            self._lines.refuse_others(driver, err)
        with open_view(self._store, chain[0].cache_id) as view:
            self._lines.read(chain_id, view, driver)

    def _around(self, parent: Optional[ChainId]) -> Dict[str, int]:
        """Inodes of the driver's around a new layer, by layout."""
        changes = driver_inodes(has_lowers=parent is not None, has_children=False)
        if parent is not None and parent not in self._parents:
            # The first child makes its parent's mark.
            self._parents.add(parent)
            changes += 1
        return {
            OVERLAY: 1,
            DOCKER_OVERLAY: 1,
            OVERLAY2: changes,
            DOCKER_OVERLAY2: changes,
            VFS: 0,
            IDEAL: 0,
        }

    def _digest(self, layer: ComingLayer) -> int:
        if layer.digest is None:
            return 0
        places = ("diffid-by-digest", layer.digest.hex), ("v2metadata-by-diffid", layer.diff_id.hex)
        return sum(
            self._new_paths(
                *(("distribution", kind, "sha256", name)[:depth] for depth in (2, 3, 4))
            )
            for kind, name in places
        )

    def _new_paths(self, *paths: Tuple[str, ...]) -> int:
        """How many of these below ``image/<driver>/`` have to be made; they are, then."""
        new = [path for path in paths if path not in self._made and not self._is_there(path)]
        self._made.update(new)
        return len(new)

    def _is_there(self, path: Tuple[str, ...]) -> bool:
        if self._store is None:
            return path == _NAMES or path in _LAYERDB
        return os.path.lexists(self._store.layout.image.joinpath(*path))


def headers(tar: BinaryIO) -> Iterator[TarEntry]:
    """The headers of a layer's tar, which is read to its end.

    Raises:
        LayerError: it is damaged, or names something twice, which cannot be loaded.
    """
    seen: Set[bytes] = set()
    for entry, _ in tarstream.entries(tar):
        name = whiteouts.clean(entry.name)
        if name in seen:
            raise LayerError(f"the layer has {shown(entry.name)} twice")
        seen.add(name)
        yield entry


def store_inodes(layout: Layout) -> int:
    """What `ovl1.store.writer.create_store` makes at `layout`, where there is none."""
    places = [layout.data_root, layout.containers, layout.home, layout.distribution]
    places += [layout.image.parent, layout.image, layout.repositories]
    places += [layout.layers.parent, layout.layers, layout.mounts, layout.staging]
    for leaf in (layout.image_configs, layout.image_metadata):
        places += [leaf, leaf.parent]
    places.append(layout.image_configs.parent.parent)
    if layout.driver == OVERLAY2:
        places.append(layout.links)
    return sum(not os.path.lexists(path) for path in places)


def _with_children(store: Store) -> Set[ChainId]:
    """The layers that overlay2 has marked, or would have, because something stands on them."""
    layers = store.layers.values()
    if store.layout.driver == OVERLAY2:
        marked = store.layout.committed
        return {record.chain_id for record in layers if marked(record.cache_id).exists()}
    below = {record.parent for record in layers}
    below.update(mount.parent for mount in store.mounts.values())
    return {chain_id for chain_id in below if chain_id is not None}
