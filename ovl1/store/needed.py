"""Which image layers something in a store needs: what removing, and counting a removal, must keep.

Needed is what an image, a container, another layer or a tree stands on, or what a record of
BuildKit names. Nothing is changed, and only BuildKit's database is read.
"""

from __future__ import annotations

from typing import Collection, Set

from ovl1.model import ChainId, ImageId
from ovl1.store.crosscheck import Parts
from ovl1.store.imagedb import chain_ids
from ovl1.store.layout import Layout


def needed_layers(
    parts: Parts, besides: Collection[str], besides_images: Collection[ImageId] = ()
) -> Set[ChainId]:
    """The layers that something needs, other than these trees and images.

    Args:
        besides: names in the driver's home: what stands on these layers or on containers' does not
            count, nor do records of these layers.
    """
    layers = parts.layers.layers
    needed = {
        chain_id
        for image_id, image in parts.images.images.items()
        if image_id not in besides_images
        for chain_id in chain_ids(image.diff_ids)
    }
    stood_on = {
        lower
        for name, tree in parts.trees.trees.items()
        if name not in besides
        for lower in tree.lowers
    }
    buildkit = _buildkits_records(parts.layout)
    tops = [mount.parent for mount in parts.mounts.mounts.values()]
    for chain_id, record in layers.items():
        cache_id = record.cache_id
        if cache_id not in besides or cache_id in stood_on or chain_id.encode() in buildkit:
            tops.append(chain_id)
    for top in tops:
        while top is not None and top in layers:
            needed.add(top)
            top = layers[top].parent
    return needed


def _buildkits_records(layout: Layout) -> bytes:
    """The database of BuildKit's snapshots, which names image layers by their chain ids.

    It is not parsed: what it has forgotten may still be in it, so that too much is kept at worst.
    """
    try:
        return (layout.data_root / "buildkit" / "snapshots.db").read_bytes()
    except FileNotFoundError:
        return b""
