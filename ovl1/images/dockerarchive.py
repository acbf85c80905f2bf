"""Reading what ``docker save`` writes: ``manifest.json``, and before Docker 1.10 ``repositories``.

Facts: moby ``image/tarexport`` and ``image/v1``. In the old form a layer is an image of its own, a
directory with ``json`` and ``layer.tar``; the configuration that Docker makes of such a chain, and
so the image's id, follows from them and from the layers' hashes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Iterator, List, Tuple

from ovl1.errors import ArchiveError, LayerError
from ovl1.formats import compressed
from ovl1.images.archive import (
    MOST_LAYERS,
    ArchivedImage,
    blob_name,
    image,
    limited,
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


def read_repositories(blobs: Blobs, max_bytes: int) -> List[ArchivedImage]:
    """The images that ``repositories`` names; their layers are read, to know what they hash to.

    Args:
        max_bytes: how much each layer may be, decompressed.

    Raises:
        ArchiveError: the archive is not what it must be.
    """
    names: Dict[str, List[str]] = {}
    for repository, tags in parse_object(blobs.document(REPOSITORIES), REPOSITORIES).items():
        if not isinstance(tags, dict):
            raise ArchiveError(f"the tags of {repository!r} are not readable")
        for tag, top in tags.items():
            names.setdefault(blob_name(top), []).append(f"{repository}:{tag}")
    hashes = _Hashes(blobs, max_bytes)
    return [_chained(blobs, top, called, hashes) for top, called in names.items()]


def _chained(blobs: Blobs, top: str, names: List[str], hashes: _Hashes) -> ArchivedImage:
    chain = list(_chain(blobs, top))[::-1]
    config = {key: value for key, value in chain[-1][1].items() if key not in _NOT_IN_CONFIG}
    config["rootfs"] = {"type": "layers", "diff_ids": [hashes[name] for name, _ in chain]}
    config["history"] = [_history(step) for _, step in chain]
    content = json.dumps(config, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return image(
        content.encode(errors="replace"), names, [(f"{name}/layer.tar", None) for name, _ in chain]
    )


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


class _Hashes(Dict[str, str]):
    """The diff ids of layers by their directories, each found when it is asked for."""

    def __init__(self, blobs: Blobs, max_bytes: int) -> None:
        super().__init__()
        self._blobs = blobs
        self._max_bytes = max_bytes

    def __missing__(self, name: str) -> str:
        what = f"{name}/layer.tar"
        digest = hashlib.sha256()
        with self._blobs.open(what) as file:
            try:
                for chunk in limited(compressed.decompressed(file), self._max_bytes, what):
                    digest.update(chunk)
            except LayerError as err:
                raise ArchiveError(
                    f"{what} in the archive: {err.brief}",
                    details=err.details,
                    resolution="Copy or make the archive again.",
                ) from err
        self[name] = f"sha256:{digest.hexdigest()}"
        return self[name]
