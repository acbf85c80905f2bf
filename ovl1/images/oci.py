"""The words of the OCI image specification, and the documents that we write in them.

Facts: image-spec 1.0 (image-layout, image-index, manifest, descriptor). The documents are written
without white space and in one order, so that the same image always gives the same digests.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence

from ovl1.store.references import full_name, split_name

INDEX, LAYOUT = "index.json", "oci-layout"
VERSION = b'{"imageLayoutVersion":"1.0.0"}'

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

# Full names are containerd's and buildx' invention; the specification has only the last part.
FULL_NAME, REF_NAME = "io.containerd.image.name", "org.opencontainers.image.ref.name"

KEPT = "ovl1-manifest"
"""Where the manifest that an image came with is kept, among the image's metadata."""

Descriptor = Dict[str, Any]


def blob_path(digest: str) -> str:
    """Where the blob of that digest (``sha256:...``) lies."""
    return "blobs/" + digest.replace(":", "/")


def descriptor(digest: str, size: int, media_type: str) -> Descriptor:
    """What one document says of a blob."""
    return {"mediaType": media_type, "digest": digest, "size": size}


def manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """The manifest of one image; layers base first."""
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)}
    return _json(value)


def named(image: Descriptor, names: Sequence[str]) -> List[Descriptor]:
    """What an index says of an image: once for each of its names (``name:tag``)."""
    if not names:
        return [image]
    return [{**image, "annotations": _annotations(name)} for name in names]


def index(manifests: Sequence[Descriptor]) -> bytes:
    """``index.json``."""
    return _json({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": list(manifests)})


def describes(manifest: bytes, config: Descriptor, layers: Sequence[Descriptor]) -> bool:
    """Whether a manifest speaks of just these blobs, whatever else it says."""
    try:
        document = json.loads(manifest)
        found = [document["config"], *document["layers"]]
        return [(each["digest"], each["size"]) for each in found] == [
            (each["digest"], each["size"]) for each in (config, *layers)
        ]
    except (ValueError, KeyError, TypeError):
        return False


def media_type(manifest: bytes) -> str:
    """What a manifest is, by its own account."""
    return str(json.loads(manifest).get("mediaType") or MANIFEST)


def _annotations(name: str) -> Dict[str, str]:
    return {FULL_NAME: full_name(name), REF_NAME: split_name(name)[1]}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
