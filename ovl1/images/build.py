"""Making layers, images and containers in a v1 store, without a daemon.

A layer's tar is read once: applied to its tree, hashed, and kept as tar-split on the way. Limits:
tars are uncompressed and come one by one, not as an archive of ``docker save``; a container gets
its layers and its configuration, but of Docker's init layer only ``/.dockerenv``: runc makes the
mount points that are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Dict,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Tuple,
    cast,
)

from ovl1.driver import overlay1
from ovl1.errors import BrokenStore, Refused
from ovl1.formats import tarsplit
from ovl1.formats.tarstream import as_file
from ovl1.layer.apply import Applied, apply_to_root
from ovl1.linux import durable
from ovl1.linux.beneath import Directory
from ovl1.model import ChainId, ContainerId, DiffId, ImageId, LayerId
from ovl1.store import writer
from ovl1.store.imagedb import read_images
from ovl1.store.layerdb import read_layers
from ovl1.store.layout import TAR_SPLIT, Layout
from ovl1.store.references import read_references
from ovl1.tree.remove import remove_tree

MAX_DEPTH = 125
"""Docker's limit of layers in an image (``layer.maxLayerDepth``)."""


def add_layer(layout: Layout, parent: Optional[ChainId], tar: BinaryIO) -> ChainId:
    """Add a layer to the store; durable when it returns.

    Args:
        parent: the layer that it stands on.
        tar: its uncompressed tar; read to the end.

    Returns:
        Its chain id; if the store had that layer already, nothing is left of the new one.

    Raises:
        BrokenStore: the parent is missing, or is no complete tree.
        LayerError, Refused: the layer cannot be represented; nothing is left of it.
    """
    table = read_layers(layout)
    below = table.chain(parent) if parent is not None else []
    if len(below) >= MAX_DEPTH:
        raise Refused(f"an image can have no more than {MAX_DEPTH} layers")
    cache_id = _new_layer_id()
    with _undone_on_failure(layout.layer(cache_id)):
        _mkdir(layout.layer(cache_id), 0o710)
        _mkdir(layout.root(cache_id), 0o755)
        diff_id, applied = _unpack(layout, below[0].cache_id if below else None, cache_id, tar)
        chain_id = ChainId.of(parent, diff_id)
        if chain_id in table.layers:
            _remove(layout.layer(cache_id))
            return chain_id
        return writer.register_layer(
            layout,
            parent=parent,
            diff_id=diff_id,
            cache_id=cache_id,
            size=applied.size,
            tar_split=layout.layer(cache_id) / TAR_SPLIT,
        )


def build_image(
    layout: Layout, tars: Iterable[BinaryIO], reference: str, config: Mapping[str, Any]
) -> ImageId:
    """Make an image of layers, the base first, and name it.

    Args:
        reference: ``name:tag``.
        config: its configuration; ``rootfs`` is put in.

    Raises:
        OvlError: as `add_layer` and `ovl1.store.writer.tag_image`; layers added so far stay.
    """
    top: Optional[ChainId] = None
    for tar in tars:
        top = add_layer(layout, top, tar)
    chain = read_layers(layout).chain(top) if top is not None else []
    diff_ids = [record.diff_id for record in reversed(chain)]
    whole = {**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    image_id = writer.write_image(layout, json.dumps(whole, separators=(",", ":")).encode())
    writer.tag_image(layout, image_id, reference)
    return image_id


def create_container(layout: Layout, image_id: ImageId, name: str, *, created: str) -> ContainerId:
    """Make a container of an image, as ``docker create`` does; not started.

    Args:
        created: a time as RFC 3339 writes it.

    Raises:
        BrokenStore: the image or its top layer is missing; nothing was changed.
        WrongUsage: Docker would not accept the name.
    """
    image = read_images(layout).images.get(image_id)
    if image is None or image.top is None:
        raise BrokenStore(f"image {image_id.short} is missing, or has no layers")
    container_id = ContainerId(os.urandom(32).hex())
    own: Dict[str, Any] = {**(image.config.get("config") or {})}
    command = [*(own.get("Entrypoint") or []), *(own.get("Cmd") or [])] or ["/bin/sh"]
    called = read_references(layout).tags_of(image_id)
    config = writer.container_config(
        container_id,
        name=name,
        image=image_id,
        driver=layout.driver,
        created=created,
        Path=command[0],
        Args=command[1:],
        Config={**own, "Hostname": container_id[:12], "Image": called[0] if called else image_id},
    )
    lower = read_layers(layout).chain(image.top)[0].cache_id
    mount_id = _new_layer_id()
    init_id = LayerId(f"{mount_id}-init")
    with _undone_on_failure(layout.layer(init_id)), _undone_on_failure(layout.layer(mount_id)):
        now = time.time_ns()
        for layer_id in (init_id, mount_id):
            overlay1.create_read_write(layout, layer_id, lower)
            # The same in both, as the upper layer begins as a copy of the init layer.
            dockerenv = layout.upper(layer_id) / ".dockerenv"
            durable.write_file(dockerenv, b"", mode=0o755, times_ns=(now, now))
            os.utime(layout.upper(layer_id), ns=(now, now))
        durable.sync_file_system(layout.home)
        writer.write_container(
            layout,
            container_id,
            config=config,
            host_config=writer.host_config(),
            mount_id=mount_id,
            init_id=init_id,
            parent=image.top,
        )
    return container_id


def _unpack(
    layout: Layout, parent: Optional[LayerId], cache_id: LayerId, tar: BinaryIO
) -> Tuple[DiffId, Applied]:
    """Make the layer's tree, and its tar-split beside that."""
    digest = hashlib.sha256()

    def hashed(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    with contextlib.ExitStack() as stack:
        split = stack.enter_context(open(layout.layer(cache_id) / TAR_SPLIT, "xb"))
        target = stack.enter_context(Directory.open(layout.root(cache_id)))
        below = stack.enter_context(_complete(layout, parent)) if parent is not None else None
        # After a failure, too, it ends before the file that it writes its end to.
        chunks = cast("Generator[bytes, None, None]", tarsplit.split(tar, split))
        stack.callback(chunks.close)
        applied = apply_to_root(as_file(hashed(chunks)), below, target)
    return DiffId(f"sha256:{digest.hexdigest()}"), applied


def _complete(layout: Layout, layer_id: LayerId) -> Directory:
    try:
        return Directory.open(layout.root(layer_id))
    except OSError as err:
        raise BrokenStore(
            f"layer {layer_id.short} has no complete tree to build on: {err.strerror}",
            details=str(err.filename),
        ) from err


def _new_layer_id() -> LayerId:
    return LayerId(os.urandom(32).hex())


def _mkdir(path: Path, mode: int) -> None:
    path.mkdir()
    path.chmod(mode)


@contextlib.contextmanager
def _undone_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _remove(path)
        raise


def _remove(path: Path) -> None:
    with Directory.open(path.parent) as parent:
        remove_tree(parent, os.fsencode(path.name))
