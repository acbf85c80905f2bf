"""Loading an archive of images into a store, without a daemon.

Each layer is read once: another process decompresses it, hashes it and writes its tar-split, while
this one applies what comes out. A layer that the store has already is not even read. Everything is
checked against what the archive promises before the first record is written.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ovl1.driver.base import Driver
from ovl1.errors import ArchiveError, LayerError
from ovl1.formats import compressed, tarsplit
from ovl1.formats.tarstream import as_file
from ovl1.images import dockerarchive, oci, ocilayout
from ovl1.images.addition import Addition, NewLayer
from ovl1.images.archive import ArchivedImage, ArchivedLayer
from ovl1.images.blobs import Blobs, DirectoryBlobs, TarBlobs
from ovl1.images.ocilayout import Platform
from ovl1.layer.apply import Applied
from ovl1.linux import locks
from ovl1.linux.pipeline import Ahead
from ovl1.model import ChainId, ImageId, LayerId, Progress, no_progress
from ovl1.store.writer import valid_name

_CHUNK = 1 << 18


@dataclass
class Loaded:
    """What an archive brought."""

    images: List[Tuple[ImageId, Tuple[str, ...]]] = field(default_factory=list)
    """Ids and the names that they got."""
    new_layers: int = 0
    known_layers: int = 0
    size: int = 0
    """Bytes of the new layers' files."""
    warnings: List[str] = field(default_factory=list)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Blobs]:
    """The files of an archive: a tar, or the directory of an OCI layout.

    Raises:
        ArchiveError: it is neither.
        OSError: it cannot be read.
    """
    if path.is_dir():
        with DirectoryBlobs(path) as blobs:
            yield blobs
        return
    with path.open("rb") as file, TarBlobs(file) as blobs:
        yield blobs


def read_images(blobs: Blobs, platform: Platform) -> List[ArchivedImage]:
    """The images of an archive, in whichever form it is.

    Raises:
        ArchiveError: it is in none, or not what it says.
    """
    if blobs.exists(dockerarchive.MANIFEST):
        return dockerarchive.read_manifest(blobs)
    if blobs.exists(oci.INDEX):
        return ocilayout.read_layout(blobs, platform)
    if blobs.exists(dockerarchive.REPOSITORIES):
        return dockerarchive.read_repositories(blobs)
    raise ArchiveError(
        "this is no archive of images",
        details="It has neither manifest.json nor index.json nor repositories.",
        resolution="For the tar of a file system, use `ovl1 image import`.",
    )


def load(
    driver: Driver,
    blobs: Blobs,
    images: Sequence[ArchivedImage],
    *,
    progress: Progress = no_progress,
) -> Loaded:
    """Add images and their names; durable.

    Args:
        driver: of the store, which is there; its lock is taken for the time.

    Raises:
        ArchiveError, LayerError: the archive is damaged or hostile; the store is as it was.
        Refused: another ovl1 command is changing the store.
    """
    total = sum(len(image.layers) for image in images)
    with locks.exclusive(driver.layout.data_root), Addition(driver) as addition:
        loader = _Loader(driver, addition, blobs)
        for image in images:
            top: Optional[ChainId] = None
            for layer in image.layers:
                progress("Loading layers", loader.layers, total)
                top = loader.layer(top, layer)
            loader.image(image)
        progress("Loading layers", total, total)
        addition.commit()
    return loader.loaded


class _Loader:
    def __init__(self, driver: Driver, addition: Addition, blobs: Blobs) -> None:
        self.loaded = Loaded()
        self._driver = driver
        self._addition = addition
        self._blobs = blobs

    @property
    def layers(self) -> int:
        """How many have been dealt with."""
        return self.loaded.new_layers + self.loaded.known_layers

    def image(self, image: ArchivedImage) -> None:
        """Take up an image whose layers have been."""
        image_id = ImageId("sha256:" + hashlib.sha256(image.config).hexdigest())
        names = tuple(valid_name(name) for name in image.names)
        self._addition.add_image(image_id, image.config, list(names))
        self.loaded.images.append((image_id, names))

    def layer(self, parent: Optional[ChainId], layer: ArchivedLayer) -> ChainId:
        """Take up a layer; its chain id."""
        chain_id = ChainId.of(parent, layer.diff_id)
        if self._addition.has(chain_id):
            self.loaded.known_layers += 1
            return chain_id
        below = self._addition.cache_id(parent) if parent is not None else None
        with self._addition.making(below) as cache_id:
            split = self._addition.tar_split(cache_id)
            applied = self._fill(cache_id, below, layer, split)
        self._addition.add_layer(NewLayer(parent, layer.diff_id, cache_id, applied.size, split))
        self.loaded.new_layers += 1
        self.loaded.size += applied.size
        self.loaded.warnings += applied.warnings
        return chain_id

    def _fill(
        self, cache_id: LayerId, below: Optional[LayerId], layer: ArchivedLayer, split: Path
    ) -> Applied:
        self._driver.create(cache_id, below)
        with self._blobs.open(layer.blob) as file, Ahead(
            lambda out: _read(file, split, out)
        ) as ahead:
            applied = self._driver.apply_diff(cache_id, below, ahead.stream)
            _compare(layer, ahead.result())
        return applied


class _Hashes(NamedTuple):
    tar: str
    blob: str


def _read(file: BinaryIO, split: Path, out: BinaryIO) -> _Hashes:
    """Pass a layer's tar on to `out`, and write its tar-split file."""
    blob, tar = hashlib.sha256(), hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            blob.update(chunk)
            yield chunk

    plain = compressed.decompressed(as_file(hashed()))
    with split.open("xb") as record:
        for chunk in tarsplit.split(as_file(plain), record):
            tar.update(chunk)
            out.write(chunk)
    return _Hashes(tar.hexdigest(), blob.hexdigest())


def _compare(layer: ArchivedLayer, found: _Hashes) -> None:
    if layer.digest is not None and found.blob != layer.digest.hex:
        raise ArchiveError(f"{layer.blob} in the archive does not hash to its name")
    if found.tar != layer.diff_id.hex:
        raise LayerError(
            f"{layer.blob} is not the layer that the image's configuration names",
            details=f"It is sha256:{found.tar}, and should be {layer.diff_id}.",
            resolution="Copy or make the archive again.",
        )
