"""Archives of images for tests, in each of the forms that there are, made on the spot."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from tests.support.layers import entry, make_tar

Files = Dict[str, bytes]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def config_of(layers: Sequence[bytes], **more: Any) -> bytes:
    """The configuration of an image of these (uncompressed) layers."""
    value = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        **more,
    }
    return json.dumps(value).encode()


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar of files, in their order."""
    return make_tar([entry(name, data=data) for name, data in files.items()]).read()


def docker_archive(
    layers: Sequence[bytes], names: Sequence[str] = ("app:1",), config: Optional[bytes] = None
) -> Files:
    """What ``docker save`` writes, with ``manifest.json`` at the end."""
    content = config_of(layers) if config is None else config
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    files["config.json"] = content
    manifest = {"Config": "config.json", "RepoTags": list(names), "Layers": list(files)[:-1]}
    return {**files, "manifest.json": json.dumps([manifest]).encode()}


def old_archive(layers: Sequence[bytes], name: str = "old", tag: str = "1") -> Files:
    """What ``docker save`` wrote before 1.10: each layer an image of its own."""
    files: Files = {}
    parent = ""
    for number, layer in enumerate(layers):
        step = hashlib.sha256(f"{number}".encode() + layer).hexdigest()
        about = {
            "id": step,
            "created": f"2015-01-0{number + 1}T00:00:00Z",
            "container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]},
            "config": {"Cmd": ["/bin/sh"]},
            "architecture": "amd64",
            "os": "linux",
            "docker_version": "1.9.1",
            "Size": len(layer),
            **({"parent": parent} if parent else {}),
        }
        files[f"{step}/VERSION"] = b"1.0"
        files[f"{step}/json"] = json.dumps(about).encode()
        files[f"{step}/layer.tar"] = layer
        parent = step
    return {**files, "repositories": json.dumps({name: {tag: parent}}).encode()}


class Layout:
    """An OCI image layout being made."""

    def __init__(self) -> None:
        self.files: Files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.listed: List[Dict[str, Any]] = []

    def blob(self, content: bytes, media_type: str, **more: Any) -> Dict[str, Any]:
        """Add a blob; its descriptor."""
        self.files[f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"] = content
        return {
            "mediaType": media_type,
            "digest": digest(content),
            "size": len(content),
            **more,
        }

    def image(self, layers: Sequence[bytes], *, pack: str = "", **more: Any) -> Dict[str, Any]:
        """Add an image; its descriptor, with `more` in it. `pack` is ``gzip`` or nothing."""
        blobs = [
            self.blob(gzip.compress(layer, mtime=0), f"{OCI_LAYER}+gzip")
            if pack
            else self.blob(layer, OCI_LAYER)
            for layer in layers
        ]
        config = self.blob(config_of(layers), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config}
        return self.blob(json.dumps({**manifest, "layers": blobs}).encode(), OCI_MANIFEST, **more)

    def index(self, listed: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """Add an index of these; its descriptor."""
        return self.blob(json.dumps({"manifests": list(listed)}).encode(), OCI_INDEX)

    def finished(self, *listed: Dict[str, Any]) -> Files:
        """The files, with ``index.json``."""
        index = {"schemaVersion": 2, "manifests": list(listed)}
        return {**self.files, "index.json": json.dumps(index).encode()}


def platform(text: str) -> Dict[str, Any]:
    """The key of a descriptor that says what an image runs on."""
    os, architecture, *variant = text.split("/")
    named = {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
    return {"platform": named}


def called(name: str, key: str = "io.containerd.image.name") -> Dict[str, Any]:
    """The key of a descriptor that says an image's name."""
    return {"annotations": {key: name}}


def small_layers(count: int = 2) -> Tuple[bytes, ...]:
    """Some different layers."""
    return tuple(
        make_tar([entry(f"file{number}", data=b"%d" % number)]).read() for number in range(count)
    )
