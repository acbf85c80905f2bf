"""What images and containers take: their layers, and which of these nothing else uses."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Mapping, Optional

from ovl1.inodes.report import LayerUse, Share
from ovl1.inodes.tally import Counts
from ovl1.model import ChainId
from ovl1.store.store import Store

Uses = Mapping[str, LayerUse]


def image_shares(store: Store, uses: Uses) -> Iterator[Share]:
    """For each image, by the names of its layers' directories."""
    users: Dict[ChainId, int] = {}
    chains = {image_id: _chain(store, image.top) for image_id, image in store.images.items()}
    standing = [_chain(store, mount.parent) for mount in store.mounts.values()]
    for chain in (*chains.values(), *standing):
        for chain_id in chain:
            users[chain_id] = users.get(chain_id, 0) + 1
    for image_id, chain in sorted(chains.items()):
        names = {chain_id: store.layers[chain_id].cache_id for chain_id in chain}
        own = [name for chain_id, name in names.items() if users[chain_id] == 1]
        yield share(image_id, store.references.tags_of(image_id), names.values(), own, uses)


def container_shares(store: Store, uses: Uses) -> Iterator[Share]:
    """For each container, without the image that it stands on."""
    for container_id, mount in sorted(store.mounts.items()):
        names = [layer_id for layer_id in (mount.init_id, mount.mount_id) if layer_id]
        container = store.containers.get(container_id)
        title = [container.name] if container is not None else []
        yield share(container_id, title, names, names, uses)


def kind_shares(uses: Uses) -> Iterator[Share]:
    """For all layers of each kind."""
    for kind in dict.fromkeys(use.kind for use in uses.values()):
        names = [use.name for use in uses.values() if use.kind == kind]
        yield share(kind, (), names, names, uses)


def share(
    of: str, names: Iterable[str], layers: Iterable[str], own: Iterable[str], uses: Uses
) -> Share:
    """What layers take together; those that are missing take nothing."""
    used = [uses[name] for name in layers if name in uses]
    alone = [uses[name] for name in own if name in uses]
    return Share(
        id=of,
        names=tuple(names),
        layers=len(used),
        tree=sum((use.tree for use in used), Counts()),
        overhead=sum(use.overhead for use in used),
        own=sum(use.inodes for use in alone),
        overhead_bytes=sum(use.overhead_bytes for use in used),
        own_bytes=sum(use.bytes for use in alone),
    )


def _chain(store: Store, top: Optional[ChainId]) -> List[ChainId]:
    """The layers from `top` down; none if it is not there."""
    if top not in store.layers:
        return []
    return [record.chain_id for record in store.parts.layers.chain(top)]
