"""Reading what ``docker save`` writes: ``manifest.json``, and before Docker 1.10 ``repositories``.

Facts: moby ``image/tarexport`` and ``image/v1``. In the old form a layer is an image of its own, a
directory with ``json`` and ``layer.tar``; the configuration that Docker makes of such a chain, and
so the image's id, follows from them and from the layers' hashes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Iterator, List, Tuple

from ovl1.errors import ArchiveError
from ovl1.formats import compressed
from ovl1.images.archive import (
    MOST_LAYERS,
    ArchivedImage,
    blob_name,
    image,
    names_of,
    parse,
    parse_object,
)
from ovl1.images.blobs import Blobs

MANIFEST, REPOSITORIES = "manifest.json", "repositories"

_NOT_IN_CONFIG = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")


def read_manifest(blobs: Blobs) -> List[ArchivedImage]:
    """The images that ``manifest.json`` lists.

    Raises:
        ArchiveError: the archive is not what it must be.
    """
    listed = parse(blobs.document(MANIFEST), MANIFEST)
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ArchiveError(f"{MANIFEST} is not a list of images")
    return [_listed(blobs, item) for item in listed]


def _listed(blobs: Blobs, item: Dict[str, Any]) -> ArchivedImage:
    layers = [(blob_name(name), None) for name in names_of(item.get("Layers"))]
    config = blobs.document(blob_name(item.get("Config")))
    found = image(config, names_of(item.get("RepoTags")), list(layers))
    for layer in found.layers:
        blobs.open(layer.blob).close()
    return found


def read_repositories(blobs: Blobs) -> List[ArchivedImage]:
    """The images that ``repositories`` names; their layers are read, to know what they hash to.

    Raises:
        ArchiveError: the archive is not what it must be.
    """
    names: Dict[str, List[str]] = {}
    for repository, tags in parse_object(blobs.document(REPOSITORIES), REPOSITORIES).items():
        if not isinstance(tags, dict):
            raise ArchiveError(f"the tags of {repository!r} are not readable")
        for tag, top in tags.items():
            names.setdefault(blob_name(top), []).append(f"{repository}:{tag}")
    hashes: Dict[str, str] = {}
    return [_chained(blobs, top, called, hashes) for top, called in names.items()]


def _chained(blobs: Blobs, top: str, names: List[str], hashes: Dict[str, str]) -> ArchivedImage:
    chain = list(_chain(blobs, top))[::-1]
    for name, _ in chain:
        if name not in hashes:
            hashes[name] = _diff_id(blobs, name)
    config = {key: value for key, value in chain[-1][1].items() if key not in _NOT_IN_CONFIG}
    config["rootfs"] = {"type": "layers", "diff_ids": [hashes[name] for name, _ in chain]}
    config["history"] = [_history(step) for _, step in chain]
    content = json.dumps(config, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return image(content.encode(), names, [(f"{name}/layer.tar", None) for name, _ in chain])


def _chain(blobs: Blobs, top: str) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """The directory and the old configuration of each layer, from the top down."""
    name = top
    for _ in range(MOST_LAYERS + 1):
        step = parse_object(blobs.document(f"{name}/json"), f"{name}/json")
        yield name, step
        if not step.get("parent"):
            return
        name = blob_name(step["parent"])
    raise ArchiveError(f"{top[:12]} has more than {MOST_LAYERS} layers, or is its own parent")


def _history(step: Dict[str, Any]) -> Dict[str, Any]:
    made_by = step.get("container_config")
    command = made_by.get("Cmd") if isinstance(made_by, dict) else None
    found = {
        "created": step.get("created", "0001-01-01T00:00:00Z"),
        "author": step.get("author"),
        "created_by": " ".join(names_of(command)),
        "comment": step.get("comment"),
    }
    return {key: value for key, value in found.items() if value}


def _diff_id(blobs: Blobs, name: str) -> str:
    digest = hashlib.sha256()
    with blobs.open(f"{name}/layer.tar") as file:
        for chunk in compressed.decompressed(file):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
