"""What an archive holds: images as values, whatever form the archive has.

Nothing of the layers is read here, but for the oldest form, which does not say what they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from ovl1.errors import ArchiveError
from ovl1.model import DiffId, Digest

MOST_LAYERS = 125
"""Docker's limit of layers in an image (``layer.maxLayerDepth``)."""

_TRAVERSAL = re.compile(r"(\A|/)\.\.(/|\Z)")
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can name half a character.


@dataclass(frozen=True)
class ArchivedLayer:
    """One layer of an archived image."""

    blob: str
    """The file that holds its tar, maybe compressed."""
    diff_id: DiffId
    """What the uncompressed tar must hash to."""
    digest: Optional[Digest] = None
    """What the file itself must hash to, where the archive says so."""


@dataclass(frozen=True)
class ArchivedImage:
    """One image of an archive."""

    config: bytes
    """The configuration, whose SHA-256 is the image's id."""
    names: Tuple[str, ...]
    """``name:tag``, as the archive has them."""
    layers: Tuple[ArchivedLayer, ...]
    """Base first."""
    manifest: Optional[bytes] = None
    """The OCI manifest, if the layers in it are as a store gives them back: uncompressed."""


def image(
    config: bytes, names: List[str], blobs: List[Tuple[str, Optional[Digest]]]
) -> ArchivedImage:
    """An image whose layers lie in the files `blobs`, base first.

    Raises:
        ArchiveError: the configuration is none, or names another number of layers.
    """
    root_fs = parse_object(config, "an image's configuration").get("rootfs")
    diff_ids = root_fs.get("diff_ids") if isinstance(root_fs, dict) else None
    diff_ids = [] if diff_ids is None else diff_ids
    if not isinstance(diff_ids, list):
        raise ArchiveError("an image's configuration does not list its layers")
    if len(diff_ids) != len(blobs):
        raise ArchiveError(
            f"an image has {len(diff_ids)} layers by its configuration, and {len(blobs)} "
            "by the archive's manifest"
        )
    if len(blobs) > MOST_LAYERS:
        raise ArchiveError(
            f"an image has {len(blobs)} layers; Docker takes {MOST_LAYERS} at most",
            resolution="Build it again with fewer steps, or squash it.",
        )
    layers = tuple(
        ArchivedLayer(blob, DiffId(digest_of(diff_id)), digest)
        for (blob, digest), diff_id in zip(blobs, diff_ids)
    )
    return ArchivedImage(config, tuple(names), layers)


def parse_object(content: bytes, what: str) -> Dict[str, Any]:
    """A JSON object.

    Raises:
        ArchiveError: it is something else; `what` says in the message what it should be.
    """
    parsed = parse(content, what)
    if not isinstance(parsed, dict):
        raise ArchiveError(f"{what} is not a JSON object")
    return parsed


def parse(content: bytes, what: str) -> Any:
    """A JSON value.

    Raises:
        ArchiveError: it is no JSON; `what` says in the message what it should be.
    """
    try:
        # As Go does: UTF-8 and nothing else, but single bytes that are none do no harm.
        return json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as err:
        raise ArchiveError(f"{what} is not readable: {err}") from err


def digest_of(value: object) -> Digest:
    """A digest that an archive's manifest names.

    Raises:
        ArchiveError: it is none that we know; it must not become part of a path.
    """
    text = value if isinstance(value, str) else repr(value)
    if Digest.matches(text):
        return Digest(text)
    raise ArchiveError(f"{text[:100]!r} in the archive's manifest is not a sha256 digest")


def blob_name(value: object) -> str:
    """The name of a file that an archive's manifest gives.

    Raises:
        ArchiveError: it is none, or leads out of the archive.
    """
    if not isinstance(value, str) or not value or _SURROGATE.search(value):
        raise ArchiveError(f"{value!r} in the archive's manifest is not the name of a file")
    if value.startswith("/") or _TRAVERSAL.search(value) or "\0" in value:
        raise ArchiveError(f"{value!r} in the archive's manifest leads out of the archive")
    return value


def names_of(value: object) -> List[str]:
    """A list of names, null for none.

    Raises:
        ArchiveError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ArchiveError("the archive's manifest has no readable list of names")
    return list(value)


def limited(chunks: Iterable[bytes], max_bytes: int, what: str) -> Iterator[bytes]:
    """What was compressed, as long as it is not too much.

    Raises:
        ArchiveError: it is more than that; `what` says in the message what it is.
    """
    left = max_bytes
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise ArchiveError(
                f"{what} unpacks to more than {max_bytes} bytes",
                details="That may be a decompression bomb.",
                resolution="If it is to be trusted, raise the limit with --max-bytes.",
            )
        yield chunk
