"""Reading an OCI image layout: ``oci-layout``, ``index.json`` and ``blobs/sha256/``.

Facts: OCI image specification 1.0 and 1.1 (image-layout, image-index, manifest); Docker's own
media types say the same. An index may hold one image for many platforms; one platform is chosen.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ovl1.errors import ArchiveError, WrongUsage
from ovl1.images.archive import ArchivedImage, digest_of, image, parse_object
from ovl1.images.blobs import Blobs
from ovl1.images.oci import FULL_NAME, IMAGE_INDEX, INDEX, MANIFEST, REF_NAME, blob_path
from ovl1.model import Digest

_INDEXES = (IMAGE_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
_LAYERS = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)
_MACHINES = {
    "x86_64": ("amd64",),
    "i686": ("386",),
    "aarch64": ("arm64",),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}
"""What Go calls a machine, where it does not call it as uname(2) does."""
_DEEPEST = 4
_MOST_MANIFESTS = 10_000


@dataclass(frozen=True)
class Platform:
    """What an image runs on, in Go's words; `variant` empty: any."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def of_this_machine(cls) -> Platform:
        """Of the kernel that this runs on."""
        machine = os.uname().machine
        return cls("linux", *_MACHINES.get(machine, (machine,)))

    @classmethod
    def parse(cls, text: str) -> Platform:
        """``linux/arm/v7`` and the like.

        Raises:
            WrongUsage: it is none.
        """
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise WrongUsage(f"{text!r} is no platform", resolution="Such as linux/amd64.")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def accepts(self, other: Platform) -> bool:
        """Whether an image for `other` will do."""
        return (self.os, self.architecture) == (other.os, other.architecture) and (
            not self.variant or self.variant == other.variant
        )


def read_layout(blobs: Blobs, platform: Platform) -> List[ArchivedImage]:
    """The images for `platform`; an image that names no platform is taken as it is.

    Raises:
        ArchiveError: the archive is not what it must be, or has nothing for the platform.
    """
    index = parse_object(blobs.document(INDEX), INDEX)
    found: Dict[Digest, Tuple[Dict[str, Any], List[str]]] = {}
    offered: List[str] = []
    for descriptor, name in _manifests(blobs, index, "", 0, iter(range(_MOST_MANIFESTS))):
        other = _platform(descriptor)
        if other is not None and not platform.accepts(other):
            offered.append(str(other))
            continue
        _, names = found.setdefault(digest_of(descriptor.get("digest")), (descriptor, []))
        if name and name not in names:
            names.append(name)
    if not found:
        raise ArchiveError(
            f"the archive has no image for {platform}",
            details="It has: " + ", ".join(sorted(set(offered))) if offered else "",
            resolution="Choose one of these with --platform." if offered else "",
        )
    return [_image(blobs, descriptor, names) for descriptor, names in found.values()]


def _manifests(
    blobs: Blobs, index: Dict[str, Any], name: str, depth: int, left: Iterator[int]
) -> Iterator[Tuple[Dict[str, Any], str]]:
    """Every image of an index and the indexes in it, with the name that it has there."""
    listed = index.get("manifests")
    if not isinstance(listed, list):
        raise ArchiveError("an index of the archive has no readable list of images")
    for descriptor in listed:
        if next(left, None) is None:
            raise ArchiveError(f"the archive lists more than {_MOST_MANIFESTS} images")
        if not isinstance(descriptor, dict):
            raise ArchiveError("an index of the archive has no readable list of images")
        called = _name(descriptor) or name
        if descriptor.get("mediaType") in _INDEXES:
            if depth == _DEEPEST:
                raise ArchiveError(f"indexes of the archive lie more than {_DEEPEST} deep")
            yield from _manifests(blobs, _verified(blobs, descriptor), called, depth + 1, left)
        elif descriptor.get("mediaType") in _MANIFESTS and not _is_attestation(descriptor):
            yield descriptor, called


def _image(blobs: Blobs, descriptor: Dict[str, Any], names: List[str]) -> ArchivedImage:
    content = _content(blobs, descriptor)
    manifest = parse_object(content, "a manifest of the archive")
    layers: List[Tuple[str, Optional[Digest]]] = []
    listed = manifest.get("layers") or []
    if not isinstance(listed, list):
        raise ArchiveError("a manifest of the archive has no readable list of layers")
    for layer in listed:
        if not isinstance(layer, dict) or not str(layer.get("mediaType")).startswith(_LAYERS):
            raise ArchiveError("a manifest of the archive lists something that is no layer")
        digest = digest_of(layer.get("digest"))
        blobs.open(blob_path(digest)).close()
        layers.append((blob_path(digest), digest))
    config = manifest.get("config")
    found = image(_content(blobs, config if isinstance(config, dict) else {}), names, layers)
    is_plain = all(layer.digest == layer.diff_id for layer in found.layers)
    return replace(found, manifest=content) if is_plain else found


def _verified(blobs: Blobs, descriptor: Dict[str, Any]) -> Dict[str, Any]:
    return parse_object(_content(blobs, descriptor), "a manifest of the archive")


def _content(blobs: Blobs, descriptor: Dict[str, Any]) -> bytes:
    digest = digest_of(descriptor.get("digest"))
    content = blobs.document(blob_path(digest))
    if hashlib.sha256(content).hexdigest() != digest.hex:
        raise ArchiveError(
            f"{blob_path(digest)} in the archive does not hash to its name",
            resolution="Copy or make the archive again.",
        )
    return content


def _name(descriptor: Dict[str, Any]) -> str:
    annotations = descriptor.get("annotations")
    if not isinstance(annotations, dict):
        return ""
    for key in (FULL_NAME, REF_NAME):
        name = annotations.get(key)
        # A mere tag (``latest``) names nothing on its own.
        if isinstance(name, str) and (key == FULL_NAME or ":" in name or "/" in name):
            return name
    return ""


def _platform(descriptor: Dict[str, Any]) -> Optional[Platform]:
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        return None
    os, architecture, variant = (
        str(platform.get(key) or "") for key in ("os", "architecture", "variant")
    )
    return Platform(os, architecture, variant)


def _is_attestation(descriptor: Dict[str, Any]) -> bool:
    """BuildKit keeps provenance as images for no platform at all."""
    annotations = descriptor.get("annotations")
    return isinstance(annotations, dict) and "vnd.docker.reference.type" in annotations
