"""Making images and containers in a store, without a daemon.

A layer's tar is read once: applied to its tree, hashed, and kept as tar-split on the way. The
caller holds the store's lock. Limits: a container gets its layers and its configuration, but of
Docker's init layer only ``/.dockerenv``: runc makes the mount points that are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterable, Iterator, List, Mapping, Optional

from ovl1.driver.base import Driver
from ovl1.errors import BrokenStore
from ovl1.images.addition import Addition
from ovl1.images.filling import fill
from ovl1.linux import durable
from ovl1.model import ChainId, ContainerId, DiffId, ImageId, LayerId
from ovl1.store import naming, writer
from ovl1.store.imagedb import read_images
from ovl1.store.layerdb import read_layers
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.references import read_references


def add_layer(driver: Driver, parent: Optional[ChainId], tar: BinaryIO) -> ChainId:
    """Add a layer that belongs to no image yet; durable when it returns.

    Args:
        parent: the layer that it stands on.
        tar: plain, gzip, bzip2, xz or zstd; read to the end.

    Returns:
        Its chain id; if the store had that layer already, nothing is left of the new one.

    Raises:
        BrokenStore: the parent is missing, or is no complete tree.
        LayerError, Refused: the layer cannot be represented; nothing is left of it.
    """
    with Addition(driver) as addition:
        filled = fill(addition, parent, tar)
        addition.commit()
    return filled.chain_id


def build_image(
    driver: Driver, tars: Iterable[BinaryIO], reference: str, config: Mapping[str, Any]
) -> ImageId:
    """Make an image of layers, the base first, and name it; all of it, or nothing.

    Args:
        reference: ``name:tag``.
        config: its configuration; ``rootfs`` is put in.

    Raises:
        OvlError: as `add_layer` and `ovl1.store.writer.tag_image`.
    """
    name = naming.valid_name(reference)
    top: Optional[ChainId] = None
    diff_ids: List[DiffId] = []
    with Addition(driver) as addition:
        for tar in tars:
            filled = fill(addition, top, tar)
            top = filled.chain_id
            diff_ids.append(filled.diff_id)
        whole = {**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        content = json.dumps(whole, separators=(",", ":")).encode()
        image_id = ImageId("sha256:" + hashlib.sha256(content).hexdigest())
        addition.add_image(image_id, content, [name])
        addition.commit()
    return image_id


def create_container(driver: Driver, image_id: ImageId, name: str, *, created: str) -> ContainerId:
    """Make a container of an image, as ``docker create`` does; not started.

    Args:
        created: a time as RFC 3339 writes it.

    Raises:
        BrokenStore: the image or its top layer is missing; nothing was changed.
        WrongUsage: Docker would not accept the name.
    """
    layout = driver.layout
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
    with _undone_on_failure(driver, init_id), _undone_on_failure(driver, mount_id):
        driver.create_read_write(init_id, lower)
        _fill_init(_changes(layout, init_id))
        driver.create_read_write(mount_id, init_id)
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


def _changes(layout: Layout, layer_id: LayerId) -> Path:
    return (layout.upper if layout.driver == OVERLAY else layout.diff)(layer_id)


def _fill_init(changes: Path) -> None:
    now = time.time_ns()
    durable.write_file(changes / ".dockerenv", b"", mode=0o755, times_ns=(now, now))
    os.utime(changes, ns=(now, now))


def _new_layer_id() -> LayerId:
    return LayerId(os.urandom(32).hex())


@contextlib.contextmanager
def _undone_on_failure(driver: Driver, layer_id: LayerId) -> Iterator[None]:
    try:
        yield
    except BaseException:
        driver.remove(layer_id)
        raise
