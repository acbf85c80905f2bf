"""A second store with the metadata of a real one, whose layers our driver makes anew.

Nothing of the real store's layers is copied but what containers have written; the real store must
not be in use, and stays as it is. `differences` tells what our layers have to be; it knows where
Docker's are not so, for the layers of `tests.docker.nasty_layers`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO, Collection, Dict, Iterator, List, Set, Tuple

from ovl1.driver.common import OverlayDriver
from ovl1.images import layertar
from ovl1.layer.apply import Applied
from ovl1.model import ChainId, LayerId
from ovl1.store.layerdb import LayerRecord
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.mounts import MountRecord
from ovl1.store.store import Store
from tests.docker.trees import Node

Nodes = Dict[bytes, Node]

# What Docker makes in every container, at that time.
_SKELETON = {
    *(b"", b".dockerenv", b"dev", b"dev/console", b"dev/pts", b"dev/shm", b"etc", b"etc/hostname"),
    *(b"etc/hosts", b"etc/mtab", b"etc/resolv.conf", b"proc", b"sys"),
}
# Whited out, with a new directory in their place, which Docker's overlay2 forgets to make opaque.
_LEFT_BY_OVERLAY2 = {b"reborn-empty/old", b"reborn/old", b"reborn/sub", b"reborn/sub/old"}
_OPAQUE = {"trusted.overlay.opaque": b"y"}


def copy_metadata(source: Layout, target: Path) -> None:
    """Make the data-root `target` with all that `source` has, but for the driver's directory."""
    target.mkdir(0o710)
    for path in source.data_root.iterdir():
        if path != source.home:
            _copy(path, target / path.name)


def parents_first(store: Store) -> List[LayerRecord]:
    """All image layers, each after the one that it stands on."""
    return sorted(store.layers.values(), key=lambda layer: store.parts.layers.depth(layer.chain_id))


@contextlib.contextmanager
def layer_tar(store: Store, layer: LayerRecord) -> Iterator[BinaryIO]:
    """The layer's tar, byte by byte what it was."""
    with tempfile.TemporaryFile() as file:
        file.writelines(layertar.chunks(store, layer))
        file.seek(0)
        yield file


def apply_layers(store: Store, driver: OverlayDriver) -> Dict[ChainId, Applied]:
    """Apply every image layer of `store`, under the id that its metadata has for it."""
    applied = {}
    for layer in parents_first(store):
        parent = store.layers[layer.parent].cache_id if layer.parent else None
        driver.create(layer.cache_id, parent)
        with layer_tar(store, layer) as tar:
            applied[layer.chain_id] = driver.apply_diff(layer.cache_id, parent, tar)
    return applied


def bring_containers(
    store: Store, driver: OverlayDriver, made_anew: Collection[MountRecord]
) -> None:
    """Bring what containers have written, and their init layers.

    Args:
        made_anew: let the driver make the layers of these, and copy only what was written. The
            others' are copied as they are, which v1 allows: they name a layer by its id.
    """
    for mount in store.mounts.values():
        assert mount.init_id is not None
        if mount not in made_anew:
            for layer_id in (mount.init_id, mount.mount_id):
                _copy(store.layout.layer(layer_id), driver.layout.layer(layer_id))
            continue
        assert mount.parent is not None
        image = store.layers[mount.parent].cache_id
        for layer_id, parent in ((mount.init_id, image), (mount.mount_id, mount.init_id)):
            driver.create_read_write(layer_id, parent)
            written = own_directory(driver.layout, layer_id)
            shutil.rmtree(written)
            _copy(own_directory(store.layout, layer_id), written)


def own_directory(layout: Layout, layer_id: LayerId) -> Path:
    """Where the layer's own entries lie: an image layer's tree in v1, else what it has changed."""
    if layout.driver == OVERLAY2:
        return layout.diff(layer_id)
    root = layout.root(layer_id)
    return root if root.exists() else layout.upper(layer_id)


def inodes(store: Store, layout: Layout, chain_id: ChainId) -> int:
    """Inodes of a layer of `store` and all below it, as they lie in `layout`; each counts once."""
    found: Set[Tuple[int, int]] = set()
    for layer in store.parts.layers.chain(chain_id):
        for path in _paths(os.fsencode(layout.layer(layer.cache_id))):
            status = os.lstat(path)
            found.add((status.st_dev, status.st_ino))
    return len(found)


def unlisted(store: Store, chain_id: ChainId) -> Set[bytes]:
    """Directories that the last layer to change something in them does not list itself."""
    found: Set[bytes] = set()
    for layer in reversed(store.parts.layers.chain(chain_id)):
        with layer_tar(store, layer) as file, tarfile.open(fileobj=file) as tar:
            names = {os.path.normpath(os.fsencode(member.name)) for member in tar}
        found = found.union(*map(_ancestors, names)) - names
    return found


def differences(
    driver_name: str, docker: Nodes, ours: Nodes, unlisted: Collection[bytes]
) -> Iterator[str]:
    """Where our tree, of one layer or of all that a container sees, is not what it has to be."""
    for path in sorted({*docker, *ours}):
        was, now = docker.get(path), ours.get(path)
        if was is None or now is None:
            if not (now is None and driver_name == OVERLAY2 and path in _LEFT_BY_OVERLAY2):
                yield f"{path!r}: only {'ours' if was is None else 'in Docker'}"
            continue
        for field in Node._fields:
            if getattr(was, field) != getattr(now, field) and not (
                _is_skeletons(path, field)
                or (stat.S_ISDIR(was.kind) and _is_better(path, field, was, now, path in unlisted))
                or (driver_name == OVERLAY and _is_kept_by_us(path, field, was, now))
                or (field == "mtime" and was.is_whiteout)
            ):
                yield f"{path!r}: {field} is {getattr(now, field)}, was {getattr(was, field)}"


def _is_skeletons(path: bytes, field: str) -> bool:
    return field == "mtime" and path in _SKELETON


def _is_better(path: bytes, field: str, was: Node, now: Node, is_unlisted: bool) -> bool:
    """What Docker has wrong with a directory, or leaves to chance."""
    if field == "mode" and is_unlisted:
        return (was.mode, now.mode) == (0o600, 0o755)
    if field == "mtime":
        return is_unlisted
    if field == "xattrs":
        # It loses what a directory has inherited, and the mark of one that has been made anew.
        kept = is_unlisted and was.xattrs.items() < now.xattrs.items()
        return kept or now.xattrs == {**was.xattrs, **_OPAQUE}
    # Its overlay2 leaves out the tar's entry for the root.
    return not path and (was.mode, was.owner) == (0o755, (0, 0))


def _is_kept_by_us(path: bytes, field: str, was: Node, now: Node) -> bool:
    """What Docker's v1 driver breaks in a tree when a layer comes over it."""
    if field == "xattrs":
        return stat.S_ISDIR(was.kind) and was.xattrs.items() < now.xattrs.items()
    if field == "links":
        return stat.S_ISLNK(was.kind) and was.links < now.links
    return path == b"hard/changed" and field == "mode" and was.mode == 0o600


def _ancestors(path: bytes) -> List[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:depth]) for depth in range(1, len(parts))]


def _paths(top: bytes) -> Iterator[bytes]:
    yield top
    for directory, folders, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in (*folders, *files))


def _copy(source: Path, target: Path) -> None:
    """With hard links, devices, sockets and all extended attributes."""
    subprocess.run(["cp", "-a", source, target], check=True)
