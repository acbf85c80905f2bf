"""Images taken apart: what of them is in the store after each step, and what that should take.

A step brings the first layers of an image, as an image of its own, and then takes away the shorter
one that the step before brought: so after each of them the store holds the images so far, whole,
and one of so many layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from typing import (
    BinaryIO,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from ovl1.bench.archive import config_of
from ovl1.errors import WrongUsage
from ovl1.formats import compressed
from ovl1.formats.tarstream import as_file
from ovl1.images import oci
from ovl1.images.archive import ArchivedImage, ArchivedLayer
from ovl1.images.blobs import Blobs
from ovl1.inodes.forecast import ComingImage, ComingLayer, Forecaster, OpenTar
from ovl1.layer.policy import Policy
from ovl1.model import ChainId, ImageId


class Source(NamedTuple):
    """An image to be built."""

    name: str
    blobs: Blobs
    image: ArchivedImage


class Step(NamedTuple):
    """What is brought next."""

    source: int
    """The image's number, from 0."""
    name: str
    image: ArchivedImage
    """The first layers of it, or all."""
    layers_in_store: int
    replaces: str
    """The name of the image that goes then, if any."""

    @property
    def layers(self) -> int:
        """How many layers of its image there are then."""
        return len(self.image.layers)


class Prediction(NamedTuple):
    """For one layout."""

    inodes: List[int]
    """After each step, more than an empty store has."""
    refused: str
    """Why it cannot be loaded, if so."""


class Predictions(NamedTuple):
    """For all of them."""

    layouts: Dict[str, Prediction]
    content: int
    """Bytes of the layers' tars, uncompressed."""


def steps(sources: Sequence[Source], at: Collection[int] = ()) -> List[Step]:
    """The steps that bring all images, one after the other.

    Args:
        at: numbers of an image's layers to stop at; by default at each. At all of them always.

    Raises:
        WrongUsage: there is no image with a layer.
    """
    found: List[Step] = []
    chains: Set[ChainId] = set()
    for number, source in enumerate(sources):
        layers = source.image.layers
        replaces = ""
        top: Optional[ChainId] = None
        for count, layer in enumerate(layers, 1):
            top = ChainId.of(top, layer.diff_id)
            chains.add(top)
            if at and count not in at and count < len(layers):
                continue
            name = f"ovl1-bench/{number}:{count}"
            image = _first(source.image, number, count, name)
            found.append(Step(number, name, image, len(chains), replaces))
            replaces = name
    if not found:
        raise WrongUsage("there is nothing to build: no image has a layer")
    return found


def _first(image: ArchivedImage, number: int, count: int, name: str) -> ArchivedImage:
    """The first layers of an image, under a name of ours."""
    if count == len(image.layers):
        return dataclasses.replace(image, names=(name,))
    layers = image.layers[:count]
    comment = f"layers 1 to {count} of image {number}"
    config = config_of([layer.diff_id for layer in layers], comment=comment)
    return ArchivedImage(config, (name,), layers)


def last_names(planned: Sequence[Step]) -> List[str]:
    """The names that are left after all steps."""
    gone = {step.replaces for step in planned}
    return [step.name for step in planned if step.name not in gone]


def staying(planned: Sequence[Step]) -> int:
    """Inodes that ovl1 leaves when it removes the images, as Docker does after a pull.

    These are the notes of the digests by which registries know the layers (moby
    distribution/metadata).
    """
    paths: Set[Tuple[str, ...]] = set()
    for layer in (layer for step in planned for layer in step.image.layers):
        if layer.digest is not None:
            for kind, name in (("by-digest", layer.digest), ("by-diffid", layer.diff_id)):
                paths.update([(kind,), (kind, "sha256"), (kind, "sha256", name)])
    return len(paths)


def image_id(image: ArchivedImage) -> ImageId:
    """What the configuration hashes to."""
    return ImageId("sha256:" + hashlib.sha256(image.config).hexdigest())


def predict(
    sources: Sequence[Source],
    planned: Sequence[Step],
    layouts: Collection[str],
    policy: Policy,
    told: Callable[[int], None],
) -> Predictions:
    """What each layout takes after each step, from the layers' headers alone.

    Raises:
        LayerError, ArchiveError: a layer is damaged.
    """
    forecaster = Forecaster(None, layouts)
    meter = _Meter(policy)
    figures: Dict[str, List[int]] = {layout: [] for layout in layouts}
    gone = 0
    for number, step in enumerate(planned):
        told(number)
        forecaster.add(_coming(sources[step.source].blobs, step.image, meter))
        # Of an image that is replaced only its configuration goes.
        gone += bool(step.replaces)
        for layout, added in forecaster.forecast.layouts.items():
            figures[layout].append(added.inodes - gone)
    made = forecaster.forecast.layouts
    found = {layout: Prediction(figures[layout], made[layout].refused) for layout in layouts}
    return Predictions(found, meter.bytes)


class _Meter:
    """Opens layers, and counts what they have."""

    def __init__(self, policy: Policy) -> None:
        self.bytes = 0
        self._policy = policy

    def opener(self, blobs: Blobs, layer: ArchivedLayer) -> OpenTar:
        return lambda: self._opened(blobs, layer)

    @contextlib.contextmanager
    def _opened(self, blobs: Blobs, layer: ArchivedLayer) -> Iterator[BinaryIO]:
        with blobs.open(layer.blob) as file:
            yield as_file(self._counted(compressed.decompressed(file)))

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in self._policy.metered(chunks):
            self.bytes += len(chunk)
            yield chunk


def _coming(blobs: Blobs, image: ArchivedImage, meter: _Meter) -> ComingImage:
    return ComingImage(
        image_id(image),
        tuple(
            ComingLayer(layer.diff_id, meter.opener(blobs, layer), layer.digest)
            for layer in image.layers
        ),
        image.names,
        (oci.KEPT,) if image.manifest is not None else (),
    )
