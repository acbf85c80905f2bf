"""The part of a store that is whole: all but what is broken, which is told with reasons.

A layer is whole if its record and its tree are, and the layer below it is; an image if its layers
are; a container's layers if they and the image layer that they stand on are. A container whose
configuration is lost does not count against its layers: they hold data, and Docker lets them be.
So does a layer without tar-split. What was half removed, or half written, is left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Set, Tuple

from ovl1.model import ChainId, ContainerId, ImageId, LayerId
from ovl1.store.containers import Container
from ovl1.store.crosscheck import Parts, mount_objection, tree_objection
from ovl1.store.imagedb import Image
from ovl1.store.layerdb import LayerRecord
from ovl1.store.mounts import MountRecord
from ovl1.store.references import References
from ovl1.store.store import Store

_HALF = "what an interrupted removal or registration left"


@dataclass(frozen=True)
class Whole:
    """A store without its broken parts, and what these are."""

    store: Store
    """Its records name nothing that is not there."""
    left: Tuple[str, ...]
    """What is left out and why, in words."""
    metadata: Tuple[str, ...]
    """The files and directories left out, below ``image/<driver>/``."""
    names_changed: bool
    """Whether ``repositories.json`` names something that is left out, or is not readable."""


def whole_part(store: Store) -> Whole:
    """Leave out of a store what is broken, piece by piece; reads directories, changes nothing."""
    return _Sieve(store).result()


class _Sieve:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts = store.parts
        self._why: Dict[Path, str] = {}
        # Notes, too: a half-removed record is only a note, and not taken along.
        for problem in reversed(store.problems):
            self._why[problem.where] = problem.what
        self._left: List[str] = []
        self._metadata: List[Path] = []

    def result(self) -> Whole:
        parts, layout = self._parts, self._parts.layout
        layers = self._layers()
        kept = replace(parts, layers=replace(parts.layers, layers=layers))
        mounts = self._mounts(kept)
        images = {}
        for image_id, image in sorted(parts.images.images.items()):
            if image.top is None or image.top in layers:
                images[image_id] = image
            else:
                why = f"its top layer {image.top.short} is missing or left out"
                self._tell(self._image_words(image_id), why)
        self._leave(layout.layers, {key.hex for key in layers}, "layer record")
        self._leave(layout.mounts, set(mounts), "record of a container's layers")
        known = {key.hex for key in parts.images.images}
        self._leave(layout.image_configs, {key.hex for key in images}, "image", known)
        self._leave(layout.image_metadata, {key.hex for key in images})
        self._leave(layout.staging, set())
        self._containers(mounts)
        references = self._names(images)
        claimed = set(parts.layers.claimed) | _trees_of(parts.mounts.mounts)
        kept = replace(
            parts,
            layers=replace(parts.layers, layers=layers, claimed=claimed),
            images=replace(parts.images, images=images),
            references=references,
            mounts=replace(parts.mounts, mounts=mounts),
            containers=replace(parts.containers, containers=self._whole_containers(mounts)),
        )
        return Whole(
            store=Store(kept, self._store.problems),
            left=tuple(self._left),
            metadata=tuple(str(path.relative_to(layout.image)) for path in self._metadata),
            names_changed=references is not parts.references,
        )

    def _layers(self) -> Dict[ChainId, LayerRecord]:
        parts = self._parts
        owners: Dict[LayerId, int] = {}
        for record in parts.layers.layers.values():
            owners[record.cache_id] = owners.get(record.cache_id, 0) + 1
        layers = {}
        for key, record in parts.layers.layers.items():
            why = tree_objection(parts, record.cache_id)
            if owners[record.cache_id] > 1:
                why = f"its cache-id {record.cache_id.short} is also that of another layer"
            if why is None:
                layers[key] = record
            else:
                self._why[parts.layout.record(key)] = why
        pending = True
        while pending:
            pending = False
            for key, record in list(layers.items()):
                if record.parent is not None and record.parent not in layers:
                    why = f"the layer below it, {record.parent.short}, is left out"
                    self._why[parts.layout.record(key)] = why
                    del layers[key]
                    pending = True
        return layers

    def _mounts(self, kept: Parts) -> Dict[ContainerId, MountRecord]:
        mounts = {}
        for key, mount in kept.mounts.mounts.items():
            why = mount_objection(kept, mount)
            if why is None:
                mounts[key] = mount
            else:
                self._why[kept.layout.mount(key)] = why
        return mounts

    def _containers(self, mounts: Mapping[ContainerId, MountRecord]) -> None:
        layout = self._parts.layout
        for problem in self._parts.containers.problems:
            if problem.is_error:
                known = problem.where.name in mounts
                told = "; its layers are taken along, Docker does not show it" if known else ""
                self._tell(f"container {problem.where.name}", problem.what + told)
        for key, container in sorted(self._parts.containers.containers.items()):
            if container.driver == layout.driver and key not in mounts:
                why = self._why.get(layout.mount(key), "it has no layers")
                self._tell(f"container {container.name} ({key})", why)

    def _whole_containers(
        self, mounts: Mapping[ContainerId, MountRecord]
    ) -> Dict[ContainerId, Container]:
        driver = self._parts.layout.driver
        found = self._parts.containers.containers
        return {key: c for key, c in found.items() if c.driver != driver or key in mounts}

    def _leave(
        self, folder: Path, keep: Set[str], kind: str = "", told: Optional[Set[str]] = None
    ) -> None:
        """Leave out all of `folder` but what is to be kept; say so if it is of a `kind`."""
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        for name in names:
            if name in keep:
                continue
            self._metadata.append(folder / name)
            if kind and name not in (told or ()):
                self._tell(f"{kind} {name}", self._why.get(folder / name, _HALF))

    def _names(self, images: Mapping[ImageId, Image]) -> References:
        """The names of `images`; the very ones of the store if they are all fine."""
        references = self._parts.references
        errors = [problem.what for problem in references.problems if problem.is_error]
        for what in errors:
            self._tell(f"names in {self._parts.layout.repositories.name}", what)
        tags, digests = (
            {name: target for name, target in table.items() if target in images}
            for table in (references.tags, references.digests)
        )
        if not errors and (tags, digests) == (references.tags, references.digests):
            return references
        return replace(references, tags=tags, digests=digests)

    def _image_words(self, key: ImageId) -> str:
        names = ", ".join(self._parts.references.tags_of(key))
        return f"image {names} ({key})" if names else f"image {key}"

    def _tell(self, what: str, why: str) -> None:
        self._left.append(f"{what}: {why}")


def _trees_of(mounts: Mapping[ContainerId, MountRecord]) -> Set[LayerId]:
    return {layer for m in mounts.values() for layer in (m.mount_id, m.init_id) if layer}
