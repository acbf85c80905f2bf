"""Writing images of a store into one archive, which any engine can load.

Two forms: an OCI image layout, and the same with Docker's ``manifest.json`` in it, as ``docker
save`` has written it since version 25 (older engines read that file, newer tools the index). Each
layer is checked while it is written; one that is damaged is taken out again, and with it the images
that need it. The same images give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Dict, Iterable, List, Sequence, Tuple

from ovl1.errors import BrokenStore, HalfDone, LayerError, OvlError
from ovl1.formats import tarheader, tarwriter
from ovl1.formats.tarheader import TarEntry
from ovl1.images import layertar, oci
from ovl1.images.dockerarchive import MANIFEST
from ovl1.images.verify import verify_layer
from ovl1.model import ChainId, ImageId, Progress, no_progress
from ovl1.store.imagedb import Image, read_config, read_metadatum
from ovl1.store.layerdb import LayerRecord
from ovl1.store.store import Store

DOCKER, OCI = "docker", "oci"


@dataclass(frozen=True)
class Unsaved:
    """An image that is not in the archive, and why."""

    image_id: ImageId
    reason: OvlError


@dataclass
class Saved:
    """What an archive holds."""

    images: List[ImageId] = field(default_factory=list)
    layers: int = 0
    size: int = 0
    """Bytes of the archive."""
    unsaved: List[Unsaved] = field(default_factory=list)


def save(
    store: Store,
    wanted: Sequence[Tuple[Image, Sequence[str]]],
    out: BinaryIO,
    *,
    form: str = DOCKER,
    progress: Progress = no_progress,
) -> Saved:
    """Write an archive of images; the store is only read.

    Args:
        wanted: each image once, with the names (``name:tag``) that it shall have in the archive.
        out: written from its present position on. If it can seek, a damaged layer is found while
            it is written, and cut off again; else every layer is read twice.
        form: `DOCKER` or `OCI`.

    Raises:
        HalfDone: a layer changed between the two readings; the archive is worth nothing.
        OSError: it cannot be written.
    """
    writer = _Archive(store, out)
    saved = Saved()
    total = sum(record.size for record in _records(store, [image for image, _ in wanted]))
    done = 0
    listed: List[Tuple[Image, Sequence[str], List[LayerRecord]]] = []
    for image, names in wanted:
        try:
            chain = list(reversed(store.chain(image)))
            for record in chain:
                if writer.layer(record):
                    saved.layers += 1
                    done += record.size
                    progress("Saving layers", done, total)
        except (BrokenStore, LayerError) as err:
            saved.unsaved.append(Unsaved(image.image_id, err))
            continue
        listed.append((image, names, chain))
        saved.images.append(image.image_id)
    _finish(writer, store, listed, form)
    saved.size = writer.size
    return saved


def _records(store: Store, images: Iterable[Image]) -> List[LayerRecord]:
    found: Dict[ChainId, LayerRecord] = {}
    for image in images:
        try:
            found.update((record.chain_id, record) for record in store.chain(image))
        except BrokenStore:
            continue
    return list(found.values())


def _finish(
    writer: _Archive,
    store: Store,
    listed: Sequence[Tuple[Image, Sequence[str], List[LayerRecord]]],
    form: str,
) -> None:
    manifests: List[Dict[str, Any]] = []
    index: List[Dict[str, Any]] = []
    for image, names, chain in listed:
        config = read_config(store.layout, image.image_id)
        layers = [writer.descriptor(record) for record in chain]
        about = writer.blob(config, oci.CONFIG)
        # An image that came with a manifest keeps it, and so its digest.
        manifest = read_metadatum(store.layout, image.image_id, oci.KEPT)
        if manifest is None or not oci.describes(manifest, about, layers):
            manifest = oci.manifest(about, layers)
        index += oci.named(writer.blob(manifest, oci.media_type(manifest)), names)
        manifests.append(
            {
                "Config": oci.blob_path(image.image_id),
                "RepoTags": list(names) or None,
                "Layers": [oci.blob_path(record.diff_id) for record in chain],
            }
        )
    writer.file(oci.LAYOUT, oci.VERSION)
    writer.file(oci.INDEX, oci.index(index))
    if form == DOCKER:
        writer.file(MANIFEST, _json(manifests))
    writer.end()


class _Archive:
    """The members of the archive; blobs are written once."""

    def __init__(self, store: Store, out: BinaryIO) -> None:
        self.size = 0
        self._store = store
        self._out = out
        self._start = out.tell() if out.seekable() else None
        self._layers: Dict[str, Tuple[str, int]] = {}
        self._blobs: Dict[str, Dict[str, Any]] = {}
        self._damaged: Dict[str, OvlError] = {}

    def layer(self, record: LayerRecord) -> bool:
        """Write a layer, if it is not there yet; whether it was not.

        Raises:
            BrokenStore, LayerError: it is damaged; nothing of it is in the archive.
        """
        if record.diff_id in self._layers:
            return False
        if record.chain_id in self._damaged:
            raise self._damaged[record.chain_id]
        try:
            if self._start is None:
                self._prove(record)
            self._write_layer(record)
        except (BrokenStore, LayerError) as err:
            self._damaged[record.chain_id] = err
            raise
        return True

    def descriptor(self, record: LayerRecord) -> Dict[str, Any]:
        """What a manifest says of a layer that has been written."""
        return oci.descriptor(*self._layers[record.diff_id], oci.LAYER)

    def blob(self, content: bytes, media_type: str) -> Dict[str, Any]:
        """Write a small blob, if it is not there yet; what a manifest says of it."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if digest not in self._blobs:
            self.file(oci.blob_path(digest), content)
            self._blobs[digest] = oci.descriptor(digest, len(content), media_type)
        return self._blobs[digest]

    def file(self, name: str, content: bytes) -> None:
        """Write a file."""
        self._write(_header(name, len(content)) + content + tarwriter.padding(len(content)))

    def end(self) -> None:
        """Write the end of the archive."""
        self._write(tarwriter.END)

    def _prove(self, record: LayerRecord) -> None:
        verdict = verify_layer(self._store, record)
        if not verdict.ok:
            raise LayerError(
                f"layer {record.chain_id.short} is damaged",
                details="\n".join(fault.what for fault in verdict.faults),
            )

    def _write_layer(self, record: LayerRecord) -> None:
        before = self.size
        size = layertar.size(self._store, record)
        written = 0
        try:
            self._write(_header(oci.blob_path(record.diff_id), size))
            for chunk in layertar.chunks(self._store, record):
                self._write(chunk)
                written += len(chunk)
        except (BrokenStore, LayerError) as err:
            if self._start is None:
                raise HalfDone(
                    f"layer {record.chain_id.short} changed while it was saved",
                    details=str(err),
                    resolution="Stop what writes to the store, and save again.",
                ) from err
            self.size = before
            self._out.seek(self._start + before)
            self._out.truncate()
            raise
        assert written == size, "the chunks are those that were counted"
        self._write(tarwriter.padding(size))
        self._layers[record.diff_id] = (record.diff_id, size)

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.size += len(data)


def _header(name: str, size: int) -> bytes:
    return tarwriter.header(
        TarEntry(name=name.encode(), kind=tarheader.FILE, mode=0o644, size=size, stored=size)
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
