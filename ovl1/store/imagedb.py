"""Images as Docker's image store records them: ``imagedb/content/sha256/<image id>``.

An image is its configuration file, and its id is that file's SHA-256; a file that hashes to
something else is reported and left out, as the daemon does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ovl1.errors import BrokenStore
from ovl1.linux.beneath import Name
from ovl1.model import ChainId, DiffId, ImageId
from ovl1.store import layout as names
from ovl1.store.folder import Folder, json_object
from ovl1.store.layout import Layout
from ovl1.store.problem import Problem

_RELOAD = "Load or pull the image again."


@dataclass(frozen=True)
class HistoryEntry:
    """One step of an image's making."""

    created: str
    created_by: str
    author: str
    comment: str
    empty_layer: bool
    """Whether the step made no layer."""


@dataclass(frozen=True)
class Image:
    """One image; texts are as in the file, empty when absent."""

    image_id: ImageId
    diff_ids: Tuple[DiffId, ...]
    """Its layers, base first."""
    top: Optional[ChainId]
    """The uppermost layer, or None for an image without layers."""
    created: str
    author: str
    architecture: str
    os: str
    history: Tuple[HistoryEntry, ...]
    parent: Optional[ImageId]
    """The image it was built from on this machine."""
    config: Dict[str, Any] = field(compare=False, repr=False)
    """The whole file, parsed."""


@dataclass(frozen=True)
class ImageTable:
    """All usable images of a store."""

    images: Dict[ImageId, Image] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)

    def children(self) -> Dict[Optional[ImageId], List[Image]]:
        """The images built directly from each image."""
        found: Dict[Optional[ImageId], List[Image]] = {}
        for image in self.images.values():
            found.setdefault(image.parent, []).append(image)
        return found


def read_images(layout: Layout) -> ImageTable:
    """Read every image of the store.

    Raises:
        NotPossibleHere: this user may not read them.
    """
    table = ImageTable()
    try:
        with Folder.open(layout.data_root, layout.image_configs) as folder:
            for name in folder.names():
                _read_entry(layout, folder, name, table)
    except BrokenStore as error:
        table.problems.append(Problem.of(layout.image_configs, error))
    return table


def read_config(layout: Layout, image_id: ImageId) -> bytes:
    """The image's configuration, byte for byte.

    Raises:
        BrokenStore: it is missing.
    """
    with Folder.open(layout.data_root, layout.image_configs) as folder:
        return folder.read(image_id.hex)


def read_metadatum(layout: Layout, image_id: ImageId, name: str) -> Optional[bytes]:
    """What is known of an image beside its configuration; None if nothing is.

    Raises:
        BrokenStore: it is there and cannot be read.
    """
    where = layout.image_metadatum(image_id)
    if not where.exists():
        return None
    with Folder.open(layout.data_root, where) as folder:
        return folder.read(name) if folder.exists(name) else None


def chain_ids(diff_ids: Tuple[DiffId, ...]) -> List[ChainId]:
    """The chain id of each layer of an image, base first."""
    found: List[ChainId] = []
    for diff_id in diff_ids:
        found.append(ChainId.of(found[-1] if found else None, diff_id))
    return found


def _read_entry(layout: Layout, folder: Folder, name: Name, table: ImageTable) -> None:
    text = name.name.decode("utf-8", "surrogateescape")
    where = folder.path / text
    if text.startswith(".tmp-"):
        table.problems.append(
            Problem.note(where, "an image file that was being written when the daemon stopped")
        )
        return
    try:
        image_id = ImageId.parse(f"sha256:{text}")
        content = folder.read(text)
        if hashlib.sha256(content).hexdigest() != image_id.hex:
            raise BrokenStore(f"image {image_id.short} does not hash to its id", resolution=_RELOAD)
        image = _image(image_id, json_object(content, where), _parent(layout, image_id, table))
        table.images[image_id] = image
    except BrokenStore as error:
        table.problems.append(Problem.of(where, error))


def _parent(layout: Layout, image_id: ImageId, table: ImageTable) -> Optional[ImageId]:
    """The local parent; a broken one only loses the history of the build, not the image."""
    where = layout.image_metadatum(image_id)
    try:
        folder = Folder.find(layout.data_root, where)
        if folder is None:
            return None
        with folder:
            if not folder.exists(names.PARENT):
                return None
            return ImageId.parse(folder.text(names.PARENT), str(where))
    except BrokenStore as error:
        table.problems.append(Problem.of(where / names.PARENT, error))
        return None


def _image(image_id: ImageId, config: Dict[str, Any], parent: Optional[ImageId]) -> Image:
    rootfs = config.get("rootfs")
    listed = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if listed is None:
        listed = []
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise BrokenStore(
            f"image {image_id.short} has no readable list of layers", resolution=_RELOAD
        )
    diff_ids = tuple(DiffId.parse(item) for item in listed)
    history = config.get("history")
    entries = [e for e in history if isinstance(e, dict)] if isinstance(history, list) else []
    chain = chain_ids(diff_ids)
    return Image(
        image_id=image_id,
        diff_ids=diff_ids,
        top=chain[-1] if chain else None,
        created=_text(config, "created"),
        author=_text(config, "author"),
        architecture=_text(config, "architecture"),
        os=_text(config, "os"),
        history=tuple(_history(entry) for entry in entries),
        parent=parent,
        config=config,
    )


def _history(entry: Dict[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        created=_text(entry, "created"),
        created_by=_text(entry, "created_by"),
        author=_text(entry, "author"),
        comment=_text(entry, "comment"),
        empty_layer=entry.get("empty_layer") is True,
    )


def _text(of: Dict[str, Any], key: str) -> str:
    value = of.get(key)
    return value if isinstance(value, str) else ""
