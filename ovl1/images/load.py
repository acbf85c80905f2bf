"""Loading an archive of images into a store, without a daemon.

Each layer is read once; one that the store has already, not at all. Everything is checked against
what the archive promises before the first record is written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import List, Optional, Sequence, Tuple

from ovl1.driver.base import Driver
from ovl1.errors import ArchiveError, LayerError
from ovl1.images import dockerarchive, oci, ocilayout
from ovl1.images.addition import Addition
from ovl1.images.archive import ArchivedImage, ArchivedLayer
from ovl1.images.blobs import Blobs
from ovl1.images.filling import Filled, Hashes, fill
from ovl1.images.ocilayout import Platform
from ovl1.layer.policy import Policy
from ovl1.model import ChainId, ImageId, Progress, no_progress
from ovl1.store.naming import valid_name


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


def read_images(
    blobs: Blobs, platform: Platform, *, max_bytes: int = Policy().max_bytes
) -> List[ArchivedImage]:
    """The images of an archive, in whichever form it is.

    Args:
        max_bytes: how much a layer may be, decompressed, that must be read for that.

    Raises:
        ArchiveError: it is in none, or not what it says.
    """
    if blobs.exists(dockerarchive.MANIFEST):
        return dockerarchive.read_manifest(blobs)
    if blobs.exists(oci.INDEX):
        return ocilayout.read_layout(blobs, platform)
    if blobs.exists(dockerarchive.REPOSITORIES):
        return dockerarchive.read_repositories(blobs, max_bytes)
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
        driver: of the store, which is there; the caller holds its lock.

    Raises:
        ArchiveError, LayerError: the archive is damaged or hostile; the store is as it was.
    """
    total = sum(len(image.layers) for image in images)
    with Addition(driver) as addition:
        loader = _Loader(addition, blobs)
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
    def __init__(self, addition: Addition, blobs: Blobs) -> None:
        self.loaded = Loaded()
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
        metadata = {oci.KEPT: image.manifest} if image.manifest is not None else {}
        self._addition.add_image(image_id, image.config, names, metadata)
        self.loaded.images.append((image_id, names))

    def layer(self, parent: Optional[ChainId], layer: ArchivedLayer) -> ChainId:
        """Take up a layer; its chain id."""
        chain_id = ChainId.of(parent, layer.diff_id)
        if self._addition.has(chain_id):
            self.loaded.known_layers += 1
            return chain_id
        filled = self._filled(parent, layer)
        if layer.digest is not None:
            self._addition.add_digest(layer.diff_id, layer.digest)
        self.loaded.new_layers += 1
        self.loaded.size += filled.applied.size
        self.loaded.warnings += filled.applied.warnings
        return chain_id

    def _filled(self, parent: Optional[ChainId], layer: ArchivedLayer) -> Filled:
        is_packed = layer.digest is not None and layer.digest != layer.diff_id
        with self._blobs.open(layer.blob) as file:
            try:
                return fill(
                    self._addition,
                    parent,
                    file,
                    hash_file=is_packed,
                    check=lambda hashes: _compare(layer, hashes),
                )
            except LayerError as err:
                raise LayerError(
                    f"{layer.blob} in the archive: {err.brief}",
                    details=err.details,
                    resolution=err.resolution,
                ) from err


def _compare(layer: ArchivedLayer, found: Hashes) -> None:
    if found.file and layer.digest is not None and found.file != layer.digest.hex:
        raise ArchiveError(f"{layer.blob} in the archive does not hash to its name")
    if found.tar != layer.diff_id.hex:
        raise ArchiveError(
            f"{layer.blob} is not the layer that the image's configuration names",
            details=f"It is sha256:{found.tar}, and should be {layer.diff_id}.",
            resolution="Copy or make the archive again.",
        )
