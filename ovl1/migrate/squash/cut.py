"""Which images are too deep, and how many of their bottom layers become one.

Images that stand on the same base are cut at the same height, that of the deepest one, so that what
they share above the cut is shared again. No more layers are merged than must be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, Set, Tuple

from ovl1.model import ChainId
from ovl1.store.store import Store

MOST_LAYERS = 125
"""Docker's limit for an image (moby ``layer.maxLayerDepth``): none deeper is pulled, loaded or
built. overlay2 would mount two more."""


@dataclass(frozen=True)
class Deep:
    """An image that is too deep; or a container on one that has been removed."""

    of: str
    """Its id."""
    names: Tuple[str, ...]
    """Without those by digest."""
    layers: int
    """How many it has."""
    merged: int
    """How many of them become one."""

    @property
    def words(self) -> str:
        """What becomes of it, for people."""
        return (
            f"{', '.join(self.names) or self.of}: of its {self.layers} layers, the lowest "
            f"{self.merged} become one"
        )


def is_deep(layers: int) -> bool:
    """Whether an image of so many layers is too deep."""
    return layers > MOST_LAYERS


def cuts(store: Store) -> Dict[ChainId, int]:
    """How many bottom layers become one, by the top layers of what is too deep."""
    chains = {top: store.parts.layers.chain(top) for top in sorted(_tops(store))}
    chains = {top: chain for top, chain in chains.items() if is_deep(len(chain))}
    deepest: Dict[ChainId, int] = {}
    for chain in chains.values():
        base = chain[-1].chain_id
        deepest[base] = max(len(chain), deepest.get(base, 0))
    return {
        top: min(len(chain), deepest[chain[-1].chain_id] - MOST_LAYERS + 1)
        for top, chain in chains.items()
    }


def deep(store: Store) -> Tuple[Deep, ...]:
    """What is too deep, by id; containers only where their image is gone."""
    return tuple(_deep(store, cuts(store)))


def _deep(store: Store, cut: Dict[ChainId, int]) -> Iterator[Deep]:
    depth = store.parts.layers.depth
    told: Set[ChainId] = set()
    for image_id, image in sorted(store.images.items()):
        if image.top in cut:
            told.add(image.top)
            names = tuple(store.references.tags_of(image_id))
            yield Deep(image_id, names, depth(image.top), cut[image.top])
    for container_id, mount in sorted(store.mounts.items()):
        if mount.parent in cut and mount.parent not in told:
            yield Deep(container_id, (), depth(mount.parent), cut[mount.parent])


def _tops(store: Store) -> Set[ChainId]:
    tops = {image.top for image in store.images.values()}
    return {top for top in (*tops, *(m.parent for m in store.mounts.values())) if top is not None}
