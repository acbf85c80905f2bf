"""Proof that a layer is what it was: its tar, re-assembled, hashes to its diff id.

Nothing is mounted: the files are read from the layer's view, whatever it is made of (a complete
``root``, changes over one, or an overlay2 stack). A layer without tar-split cannot be proved.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Dict, Iterable, List, Tuple

from ovl1.errors import BrokenStore, LayerError
from ovl1.formats import tarsplit
from ovl1.formats.whiteouts import AufsMetadata, classify
from ovl1.images import layertar
from ovl1.layer.export import check
from ovl1.model import ChainId
from ovl1.store.imagedb import Image
from ovl1.store.layerdb import LayerRecord
from ovl1.store.store import Store


@dataclass(frozen=True)
class Fault:
    """Why a layer could not be proved."""

    name: bytes
    """The file, as the layer's tar names it; empty if it is none in particular."""
    what: str


@dataclass(frozen=True)
class LayerVerdict:
    """The outcome for one layer."""

    record: LayerRecord
    faults: Tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether the layer's tar could be re-assembled bit for bit."""
        return not self.faults


def layers_of(store: Store, images: Iterable[Image]) -> List[LayerRecord]:
    """The layers of some images, each once, what is below before what is above.

    Raises:
        BrokenStore: an image's layer is missing or broken.
    """
    found: Dict[ChainId, LayerRecord] = {}
    for image in images:
        for record in reversed(store.chain(image)):
            found[record.chain_id] = record
    return list(found.values())


def verify_layer(store: Store, record: LayerRecord) -> LayerVerdict:
    """Re-assemble one layer's tar and compare its SHA-256 with the diff id.

    Raises:
        OSError: something below cannot be read at all (not merely absent).
    """
    layout = store.layout
    try:
        view = layertar.contents(layout, layertar.paths(store, record))
        with layertar.tar_split(layout, record) as stream, view as files:
            problems = check(tarsplit.read(stream), files, record.diff_id)
    except (BrokenStore, LayerError) as error:
        return LayerVerdict(record, (Fault(b"", str(error)),))
    return LayerVerdict(record, tuple(Fault(p.name, p.brief + _known(p.name)) for p in problems))


def _known(name: bytes) -> str:
    """What is known of files that are missing from the day the layer was unpacked."""
    with contextlib.suppress(LayerError):
        if name and isinstance(classify(name), AufsMetadata):
            return "\nAUFS left it, and Docker never unpacks it: docker save fails as well."
    return ""
