"""Writing what Docker writes when it registers a layer, an image, a name or a container.

The files, their modes and their order are those of Docker 20.10 and are the same for both layouts.
All of it is durable when a function returns; a layer or a container is in place only when it is
whole. Limits: one writer at a time, which the caller sees to (`ovl1.linux.locks`) while no daemon
uses the store; everything belongs to the caller's user, not to one of a user namespace.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ovl1.errors import BrokenStore, Refused, WrongUsage
from ovl1.formats import gojson
from ovl1.linux import durable
from ovl1.model import ChainId, ContainerId, DiffId, Digest, ImageId, LayerId
from ovl1.store import layout as names
from ovl1.store.folder import Folder
from ovl1.store.layout import Layout

_MOST_DIGESTS = 50  # of a layer: moby distribution/metadata/v2_metadata_service.go

_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def create_store(layout: Layout) -> None:
    """Make an empty store, in a data-root that may hold others; it is made if missing.

    Raises:
        Refused: there is a store of this driver.
    """
    for path in (layout.home, layout.image):
        if os.path.lexists(path):
            raise Refused(
                f"{path} exists already", resolution="Choose another directory for a new store."
            )
    images, metadata = layout.image_configs, layout.image_metadata
    modes = {
        layout.data_root: 0o710,
        layout.containers: 0o710,
        layout.image.parent: 0o700,
        layout.image: 0o700,
        layout.layers.parent: 0o700,
        layout.layers: 0o755,
        layout.mounts: 0o755,
        layout.staging: 0o755,
        images.parent.parent: 0o700,
        images.parent: 0o700,
        images: 0o700,
        metadata.parent: 0o700,
        metadata: 0o700,
        layout.distribution: 0o700,
        layout.home: 0o710,
    }
    if layout.driver == names.OVERLAY2:
        modes[layout.links] = 0o700
    for path, mode in modes.items():
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            path.chmod(mode)
    durable.write_file(layout.repositories, b'{"Repositories":{}}', mode=0o600)
    durable.sync_file_system(layout.data_root)


def register_layer(
    layout: Layout,
    *,
    parent: Optional[ChainId],
    diff_id: DiffId,
    cache_id: LayerId,
    size: int,
    tar_split: Path,
    staging: Optional[Path] = None,
) -> ChainId:
    """Enter a layer, whose tree is finished, into the layer store.

    Tree and record are synced together before the record is put into place, so that no record
    is ever there whose tree is not.

    Args:
        size: bytes of this layer alone.
        tar_split: the finished ``tar-split.json.gz``, on the store's file system; it is moved.
        staging: the directory there in which the record is made; by default Docker's own.

    Raises:
        Refused: the layer has a record already, or its parent has none; nothing was changed.
    """
    chain_id = ChainId.of(parent, diff_id)
    record = layout.record(chain_id)
    if os.path.lexists(record):
        raise Refused(
            f"layer {chain_id.short} has a record already",
            details=str(record),
            resolution="If the directory is empty, a crash left it: remove it.",
        )
    if parent is not None and not layout.record(parent).is_dir():
        raise Refused(f"the layer below it, {parent.short}, is not in the store")
    texts = {names.DIFF_ID: diff_id, names.SIZE: str(size), names.CACHE_ID: cache_id}
    if parent is not None:
        texts[names.PARENT] = parent
    place = (staging or layout.staging) / f"write-set-{os.urandom(8).hex()}"
    with _staged(place, 0o700) as made:
        for name, text in texts.items():
            durable.create_file(made / name, text.encode(), mode=0o644)
        os.rename(tar_split, made / names.TAR_SPLIT)
        (made / names.TAR_SPLIT).chmod(0o644)
        durable.sync_file_system(made)
        durable.rename(made, record)
    return chain_id


def write_image(layout: Layout, config: bytes) -> ImageId:
    """Enter an image; one that is there already is the same one, and is left alone.

    Args:
        config: the configuration file, byte for byte: its SHA-256 is the image's id.
    """
    image_id = ImageId("sha256:" + hashlib.sha256(config).hexdigest())
    path = layout.image_config(image_id)
    if not path.exists():
        durable.write_file(path, config, mode=0o600)
    return image_id


def write_metadata(layout: Layout, image_id: ImageId, metadata: Mapping[str, bytes]) -> None:
    """Enter what is known of an image beside its configuration; idempotent, durable.

    Args:
        metadata: contents by name, such as ``parent``; engines pass over names unknown to them.
    """
    if not metadata:
        return
    place = layout.image_metadatum(image_id)
    with contextlib.suppress(FileExistsError):
        place.mkdir(0o700)
        durable.sync_directory(place.parent)
    for name, content in metadata.items():
        durable.write_file(place / name, content)


def write_digest(layout: Layout, diff_id: DiffId, digest: Digest) -> None:
    """Enter as what a layer is known to registries; idempotent, durable.

    With that, a later pull finds that the layer is here (moby ``distribution/metadata``). No
    repository is named as the blob's source, as none has been asked.
    """
    by_digest = _made(layout.distribution / "diffid-by-digest" / "sha256")
    durable.write_file(by_digest / digest.hex, diff_id.encode())
    by_diff_id = _made(layout.distribution / "v2metadata-by-diffid" / "sha256")
    known: List[Any] = []
    with contextlib.suppress(BrokenStore), Folder.open(layout.data_root, by_diff_id) as folder:
        known = json.loads(folder.read(diff_id.hex))
    entry = {"Digest": digest, "SourceRepository": ""}
    if entry not in known:
        content = json.dumps([*known, entry][-_MOST_DIGESTS:], separators=(",", ":"))
        durable.write_file(by_diff_id / diff_id.hex, content.encode())


def _made(path: Path) -> Path:
    for place in (path.parent, path):
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o755)
            durable.sync_directory(place.parent)
    return path


def remove_image(layout: Layout, image_id: ImageId) -> None:
    """Take an image out, but for its names; one that is not there is fine. Durable."""
    config = layout.image_config(image_id)
    for path in (config, durable.temporary(config)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    durable.sync_directory(config.parent)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(layout.image_metadatum(image_id))


def unregister_layer(layout: Layout, chain_id: ChainId, *, staging: Optional[Path] = None) -> None:
    """Take out the record of a layer on which no other stands; its tree is left. Durable.

    Args:
        staging: where the record is put before it is deleted; as for `register_layer`.
    """
    aside = (staging or layout.staging) / f"removed-{os.urandom(8).hex()}"
    durable.rename(layout.record(chain_id), aside)
    shutil.rmtree(aside)


def write_container(
    layout: Layout,
    container_id: ContainerId,
    *,
    config: Dict[str, Any],
    host_config: Dict[str, Any],
    mount_id: LayerId,
    init_id: Optional[LayerId],
    parent: Optional[ChainId],
) -> None:
    """Enter a container, whose layers exist.

    Args:
        config, host_config: see `container_config` and `host_config`.
        mount_id: the layer that it writes to.
        init_id: the layer between that and the image, if there is one.
        parent: the image's top layer, if it has any.

    Raises:
        Refused: there is a container of that id; nothing was changed.
    """
    home, mount = layout.container(container_id), layout.mount(container_id)
    for path in (home, mount):
        if os.path.lexists(path):
            raise Refused(f"container {container_id[:12]} exists already", details=str(path))
    texts = {names.MOUNT_ID: mount_id, names.INIT_ID: init_id, names.PARENT: parent}
    with _staged(mount, 0o755), _staged(home, 0o710):
        for name, text in texts.items():
            if text is not None:
                durable.write_file(mount / name, text.encode())
        durable.sync_directory(mount.parent)
        (home / "checkpoints").mkdir(0o700)
        durable.write_file(home / "hostconfig.json", gojson.encoded(host_config) + b"\n")
        durable.write_file(home / names.CONFIG, gojson.encoded(config) + b"\n", mode=0o600)
        durable.sync_directory(home.parent)


def container_config(
    container_id: ContainerId, *, name: str, image: ImageId, driver: str, created: str, **more: Any
) -> Dict[str, Any]:
    """The ``config.v2.json`` of a container that was never started.

    Args:
        name: without the leading slash.
        created: a time as RFC 3339 writes it.
        more: further keys or other values, above all ``Path``, ``Args`` and ``Config``.

    Raises:
        WrongUsage: Docker would not accept the name.
    """
    if not _CONTAINER_NAME.fullmatch(name):
        raise WrongUsage(
            f"{name!r} is no name for a container",
            resolution="It has at least two letters, digits, or characters of '_.-'.",
        )
    never = "0001-01-01T00:00:00Z"
    return {
        "State": {
            "Running": False,
            "Paused": False,
            "Restarting": False,
            "RemovalInProgress": False,
            "Dead": False,
            "Pid": 0,
            "ExitCode": 0,
            "StartedAt": never,
            "FinishedAt": never,
        },
        "ID": container_id,
        "Created": created,
        "Path": "",
        "Args": [],
        "Config": {"Hostname": container_id[:12], "Image": image},
        "Image": image,
        # Without any key of its own, the daemon panics when it starts the container.
        "NetworkSettings": {"Networks": {"none": {"NetworkID": ""}}},
        "Name": f"/{name}",
        "Driver": driver,
        "OS": "linux",
        "MountPoints": {},
        **more,
    }


def host_config(**more: Any) -> Dict[str, Any]:
    """The ``hostconfig.json`` of a container without network; `more` are further keys."""
    return {
        "NetworkMode": "none",
        "LogConfig": {"Type": "json-file", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "IpcMode": "private",
        "ShmSize": 64 << 20,
        "Runtime": "runc",
        **more,
    }


@contextlib.contextmanager
def _staged(path: Path, mode: int) -> Iterator[Path]:
    """A new directory, gone again if the block fails."""
    path.mkdir()
    try:
        path.chmod(mode)
        yield path
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
        raise
