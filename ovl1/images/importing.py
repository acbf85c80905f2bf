"""Images made of one tar: a root file system's, or what a container has changed.

The configurations are those that ``docker import`` and ``docker commit`` write (moby
daemon/images/image_import.go and image/image.go), but for ``docker_version``: none was at work.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any, BinaryIO, Dict, List, NamedTuple, Sequence, cast

from ovl1.driver.base import Driver
from ovl1.errors import BrokenStore
from ovl1.formats import gojson
from ovl1.formats.tarstream import as_file
from ovl1.images.addition import Addition
from ovl1.images.filling import Filled, fill
from ovl1.images.ocilayout import Platform
from ovl1.layer.apply import Applied
from ovl1.model import ContainerId, DiffId, ImageId
from ovl1.store.containers import read_config
from ovl1.store.naming import valid_name
from ovl1.store.store import Store

EMPTY = DiffId("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""The tar of no entries: ``docker commit`` makes no layer of it (moby ``layer.EmptyLayer``)."""


class Made(NamedTuple):
    """An image that was made of one layer, and what it stands on."""

    image_id: ImageId
    names: Sequence[str]
    applied: Applied


class About(NamedTuple):
    """What is to be recorded of the image's making."""

    created: str
    """A time as RFC 3339 writes it."""
    author: str = ""
    comment: str = ""


def import_tar(
    driver: Driver, file: BinaryIO, names: Sequence[str], *, platform: Platform, about: About
) -> Made:
    """Make an image of a root file system's tar: plain, gzip, bzip2, xz or zstd; durable.

    The caller holds the store's lock.

    Raises:
        WrongUsage: Docker would not accept a name.
        LayerError: the tar is damaged or hostile; the store is as it was.
    """
    names = [valid_name(name) for name in names]
    with Addition(driver) as addition:
        filled = fill(addition, None, file)
        step = _step(about)
        config = {
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
            "os": platform.os,
            "comment": about.comment,
            "config": _NO_CONFIG,
            "container_config": _NO_CONFIG,
            "created": about.created,
            "history": [step],
            "rootfs": _root_fs([filled.diff_id]),
        }
        return _finished(addition, filled, config, names, {})


def commit(
    driver: Driver, store: Store, container_id: ContainerId, names: Sequence[str], *, about: About
) -> Made:
    """Make an image of a container: its own image, and what it has changed; durable.

    The caller holds the store's lock.

    Args:
        store: read since.

    Raises:
        BrokenStore: the container's image or one of its layers is missing.
        WrongUsage: Docker would not accept a name.
    """
    names = [valid_name(name) for name in names]
    container, mount = store.containers[container_id], store.mounts.get(container_id)
    image = store.images.get(container.image_id) if container.image_id else None
    if mount is None or image is None:
        raise BrokenStore(
            f"container {container.name} has no {'layer' if image else 'image'} in the store"
        )
    with Addition(driver) as addition:
        below = mount.init_id or addition.cache_id(mount.parent)
        changes = driver.diff(mount.mount_id, below)
        # The other process reads it; here it is only closed.
        with contextlib.closing(cast("Any", changes)):
            filled = fill(addition, mount.parent, as_file(changes))
        own = read_config(store.layout, container_id).get("Config") or {}
        is_empty = filled.diff_id == EMPTY
        if is_empty:
            addition.forget(filled.chain_id)
        added = [] if is_empty else [filled.diff_id]
        step = {**_step(about), "created_by": " ".join(own.get("Cmd") or [])}
        known: List[Dict[str, Any]] = list(image.config.get("history") or [])
        config = {
            **{key: image.config[key] for key in _INHERITED if key in image.config},
            "author": about.author,
            "config": own,
            "container": container_id,
            "container_config": own,
            "created": about.created,
            "history": [*known, {**step, "empty_layer": True} if is_empty else step],
            "rootfs": _root_fs([*image.diff_ids, *added]),
        }
        return _finished(addition, filled, config, names, {"parent": image.image_id.encode()})


# moby api/types/container.Config, of which nothing is set.
_NO_CONFIG = {
    **dict.fromkeys(("Hostname", "Domainname", "User", "Image", "WorkingDir"), ""),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr"), False),
    **dict.fromkeys(("Tty", "OpenStdin", "StdinOnce"), False),
    **dict.fromkeys(("Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels")),
}
_INHERITED = ("architecture", "variant", "os", "os.version", "os.features")


def _finished(
    addition: Addition,
    filled: Filled,
    config: Dict[str, Any],
    names: Sequence[str],
    metadata: Dict[str, bytes],
) -> Made:
    content = gojson.encoded({key: value for key, value in config.items() if value != ""})
    image_id = ImageId("sha256:" + hashlib.sha256(content).hexdigest())
    addition.add_image(image_id, content, names, metadata)
    addition.commit()
    return Made(image_id, names, filled.applied)


def _root_fs(diff_ids: Sequence[DiffId]) -> Dict[str, Any]:
    return {"type": "layers", "diff_ids": list(diff_ids)}


def _step(about: About) -> Dict[str, Any]:
    step = {"created": about.created, "author": about.author, "comment": about.comment}
    return {key: value for key, value in step.items() if value}
