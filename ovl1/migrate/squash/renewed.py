"""A store as if the bottom layers of its deep images had been one from the start.

Each layer of such an image has a new id, made from the old one, and the tree of an old layer: that
of the uppermost merged layer shows all that they hold. Layers that something else still needs are
there as they were, too. DiffIDs above the cut stay; chain ids, image ids and what names them do
not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ovl1.driver.convert import SNAPSHOT, conversions
from ovl1.errors import Refused
from ovl1.migrate.squash import image as image_config
from ovl1.migrate.squash.cut import cuts, is_deep
from ovl1.model import ChainId, ContainerId, DiffId, ImageId, LayerId
from ovl1.store.imagedb import Image
from ovl1.store.layerdb import LayerRecord
from ovl1.store.mounts import MountRecord
from ovl1.store.references import References
from ovl1.store.store import Store
from ovl1.store.trees import Tree
from ovl1.store.whole import Whole


class Made(NamedTuple):
    """What is known of a layer that takes the place of others, once its tar was made."""

    diff_id: DiffId
    size: int
    """Bytes of its files."""
    tar_split: Path


class NewLayer(NamedTuple):
    """A layer of a deep image, as it becomes."""

    record: LayerRecord
    of: LayerRecord
    """The old layer whose tree it shows."""
    merged: Tuple[ChainId, ...]
    """The layers whose place it takes, lowest first; if only those below it changed, none."""


class NewImage(NamedTuple):
    """A deep image, as it becomes."""

    image: Image
    config: bytes


@dataclass(frozen=True)
class Renewed:
    """What becomes of a store; all tables are by the old ids."""

    whole: Whole
    layers: Tuple[NewLayer, ...]
    """Parents first."""
    images: Dict[ImageId, NewImage]
    mounts: Dict[ContainerId, MountRecord]
    """Those that stand on another layer than before."""

    def told(self) -> Dict[str, Any]:
        """For the certificate: which layer was made of which, and which image became which."""
        made = [layer for layer in self.layers if layer.merged]
        return {
            "layers": [
                {
                    "id": layer.record.cache_id,
                    "diff_id": layer.record.diff_id,
                    "merged": list(layer.merged),
                }
                for layer in made
            ],
            "images": self.new_ids(),
        }

    def new_ids(self) -> Dict[str, str]:
        """The new ids of images, by the old ones."""
        return {old: new.image.image_id for old, new in self.images.items()}


def bottoms(store: Store) -> List[LayerRecord]:
    """The old layers whose trees are to be layers by themselves."""
    chains = [(store.parts.layers.chain(top), merged) for top, merged in cuts(store).items()]
    found = {chain[-merged].chain_id: chain[-merged] for chain, merged in chains}
    return [found[chain_id] for chain_id in sorted(found)]


def renewed(whole: Whole, made: Mapping[ChainId, Made]) -> Renewed:
    """The store with its deep images squashed; reads metadata, changes nothing.

    Args:
        made: what is known of the new base layers, by the old layers of `bottoms`. Where nothing
            is, the DiffID is a placeholder, and so is every id that depends on it; layer ids
            never do.

    Raises:
        Refused: the store has an image already that is what a squashed one would be.
    """
    return _Squash(whole, made).result()


class _Squash:
    def __init__(self, whole: Whole, made: Mapping[ChainId, Made]) -> None:
        self._whole, self._made = whole, made
        self._store = whole.store
        self._cuts = cuts(whole.store)
        self._new: Dict[ChainId, NewLayer] = {}
        self._tops: Dict[ChainId, ChainId] = {}
        for top, merged in self._cuts.items():
            self._tops[top] = self._renew_chain(top, merged)

    def result(self) -> Renewed:
        images = self._images()
        mounts = {
            key: replace(mount, parent=self._tops[mount.parent])
            for key, mount in self._store.mounts.items()
            if mount.parent in self._tops
        }
        return Renewed(
            self._renewed_whole(images, mounts), tuple(self._new.values()), images, mounts
        )

    def _renew_chain(self, top: ChainId, merged: int) -> ChainId:
        """Enter the new layers of one image; gives its new top layer."""
        chain = self._store.parts.layers.chain(top)[::-1]
        cut = chain[merged - 1]
        known = self._made.get(cut.chain_id)
        # The placeholder is the DiffID of nothing that the store could have.
        diff_id = known.diff_id if known else DiffId(f"sha256:{_layer_id(cut, cut)}")
        base = replace(
            cut,
            chain_id=ChainId.of(None, diff_id),
            diff_id=diff_id,
            parent=None,
            cache_id=_layer_id(cut, cut),
            size=known.size if known else 0,
            tar_split=known.tar_split if known else None,
        )
        self._enter(NewLayer(base, cut, tuple(each.chain_id for each in chain[:merged])))
        below = base.chain_id
        for old in chain[merged:]:
            chain_id = ChainId.of(below, old.diff_id)
            layer_id = _layer_id(old, cut)
            record = replace(old, chain_id=chain_id, parent=below, cache_id=layer_id)
            self._enter(NewLayer(record, old, ()))
            below = chain_id
        return below

    def _enter(self, layer: NewLayer) -> None:
        self._new.setdefault(layer.record.chain_id, layer)

    def _images(self) -> Dict[ImageId, NewImage]:
        found: Dict[ImageId, NewImage] = {}
        for key, image in sorted(self._store.images.items()):
            if image.top is None or image.top not in self._tops:
                continue
            merged = self._cuts[image.top]
            top = self._tops[image.top]
            base = self._base_of(top)
            config = image_config.renewed(image.config, merged, base)
            new_id = ImageId("sha256:" + hashlib.sha256(config).hexdigest())
            if new_id in self._store.images:
                raise _there_already(new_id)
            diff_ids = (base, *image.diff_ids[merged:])
            new = replace(image, image_id=new_id, diff_ids=diff_ids, top=top)
            found[key] = NewImage(new, config)
        return found

    def _base_of(self, top: ChainId) -> DiffId:
        record = self._new[top].record
        while record.parent is not None:
            record = self._new[record.parent].record
        return record.diff_id

    def _taken(self) -> Set[ChainId]:
        """The layers of deep images."""
        chain = self._store.parts.layers.chain
        return {record.chain_id for top in self._cuts for record in chain(top)}

    def _dropped(self) -> Set[ChainId]:
        """The layers of deep images that nothing else needs."""
        table = self._store.parts.layers
        deep = {key for key in table.layers if is_deep(table.depth(key))}
        needed = set(table.layers) - deep - self._taken()
        images, mounts = self._store.images.values(), self._store.mounts.values()
        tops = (*(image.top for image in images), *(mount.parent for mount in mounts))
        needed |= {top for top in tops if top is not None and top not in self._cuts}
        owners = table.by_cache_id()
        for conversion in conversions(self._store):
            if conversion.kind == SNAPSHOT:
                needed |= {owners[lower].chain_id for lower in conversion.lowers if lower in owners}
        kept = {record.chain_id for key in needed for record in table.chain(key)}
        return set(table.layers) - kept

    def _renewed_whole(
        self, images: Mapping[ImageId, NewImage], mounts: Mapping[ContainerId, MountRecord]
    ) -> Whole:
        parts, layout = self._store.parts, self._store.layout
        dropped = self._dropped()
        layers = {key: rec for key, rec in parts.layers.layers.items() if key not in dropped}
        if set(layers) & set(self._new):
            raise _there_already(sorted(set(layers) & set(self._new))[0])
        layers.update({key: layer.record for key, layer in self._new.items()})
        references, left = self._references(images)
        kept_images = {
            key: value for key, value in parts.images.images.items() if key not in images
        }
        kept_images.update({new.image.image_id: new.image for new in images.values()})
        kept = replace(
            parts,
            layers=replace(
                parts.layers,
                layers=layers,
                claimed=parts.layers.claimed | {r.cache_id for r in layers.values()},
            ),
            images=replace(parts.images, images=kept_images),
            references=references,
            mounts=replace(parts.mounts, mounts={**parts.mounts.mounts, **mounts}),
            trees=replace(parts.trees, trees=self._trees(dropped)),
        )
        gone = [layout.record(key) for key in sorted(dropped)]
        for key in images:
            gone += [layout.image_config(key), layout.image_metadatum(key)]
        return Whole(
            store=Store(kept, self._store.problems),
            left=(
                *self._whole.left,
                *(
                    f"layer record {key.hex}: too deep, and no image has it"
                    for key in sorted(dropped - self._taken())
                ),
                *left,
            ),
            metadata=(
                *self._whole.metadata,
                *(str(path.relative_to(layout.image)) for path in gone),
            ),
            names_changed=self._whole.names_changed or bool(images),
        )

    def _trees(self, dropped: Set[ChainId]) -> Dict[str, Tree]:
        """The old trees that are still needed, and old ones under the names of new layers."""
        old = self._store.trees
        gone = {self._store.layers[key].cache_id for key in dropped}
        trees = {name: tree for name, tree in old.items() if name not in gone}
        for layer in self._new.values():
            trees[layer.record.cache_id] = old[layer.of.cache_id]
        return trees

    def _references(self, images: Mapping[ImageId, NewImage]) -> Tuple[References, Sequence[str]]:
        """Tags name the new images; a digest is that of the old one."""
        old = self._store.references
        tags = {
            name: images[target].image.image_id if target in images else target
            for name, target in old.tags.items()
        }
        digests = {name: target for name, target in old.digests.items() if target not in images}
        left = [
            f"name {name}: its image is squashed, and no longer the one of that digest"
            for name in sorted(set(old.digests) - set(digests))
        ]
        return replace(old, tags=tags, digests=digests), left


def _layer_id(old: LayerRecord, cut: LayerRecord) -> LayerId:
    text = f"{old.chain_id} squashed at {cut.chain_id}"
    return LayerId(hashlib.sha256(text.encode()).hexdigest())


def _there_already(found: Optional[str]) -> Refused:
    return Refused(
        f"the store has {found} already, which is what squashing an image would make",
        resolution="Remove the deep image, or the one that was squashed, with Docker.",
    )
