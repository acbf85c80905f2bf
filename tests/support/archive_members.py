"""Archives of images out of any members, in both forms, as tars and as directories.

A member is the content of a file, or an entry of any other type.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Union

from tests.support import archives
from tests.support.archives import OCI_LAYER, OCI_MANIFEST
from tests.support.layers import Made, entry, make_tar

Members = Dict[str, Union[bytes, Made]]
Json = Dict[str, Any]

LAYERS = [
    make_tar([entry("etc/", tarfile.DIRTYPE), entry("etc/base", data=b"base" * 5000)]).read(),
    make_tar([entry("etc/new", data=b"new" * 100_000), entry("etc/.wh.base")]).read(),
    make_tar([entry("opt/", tarfile.DIRTYPE), entry("opt/fifo", tarfile.FIFOTYPE)]).read(),
]


def docker(
    *,
    layers: Sequence[bytes] = tuple(LAYERS),
    names: Sequence[str] = ("app:1",),
    config: bytes = b"",
    manifest: Callable[[Json], object] = lambda _: None,
    members: Union[Members, Sequence[str]] = (),
) -> Members:
    """An archive as ``docker save`` writes it.

    Args:
        config: another configuration.
        manifest: changes what ``manifest.json`` says of the image.
        members: other members, or the names of those that are left out.
    """
    made: Members = dict(archives.docker_archive(layers, names, config or None))
    (listed,) = json.loads(made["manifest.json"])  # type: ignore[arg-type]
    manifest(listed)
    made["manifest.json"] = json.dumps([listed]).encode()
    return changed(made, members)


def oci(
    *,
    layers: Sequence[bytes] = tuple(LAYERS),
    pack: bool = False,
    config: bytes = b"",
    manifest: Callable[[Json], object] = lambda _: None,
    index: Callable[[Json], object] = lambda _: None,
    members: Union[Members, Sequence[str]] = (),
) -> Members:
    """An OCI layout; arguments as for `docker`, what is changed hashes to its name again.

    Args:
        pack: gzip the layers.
        index: changes ``index.json``.
    """
    layout = archives.Layout()
    blobs = [
        layout.blob(gzip.compress(layer, mtime=0), f"{OCI_LAYER}+gzip")
        if pack
        else layout.blob(layer, OCI_LAYER)
        for layer in layers
    ]
    about = layout.blob(
        config or archives.config_of(layers), "application/vnd.oci.image.config.v1+json"
    )
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": about, "layers": blobs}
    manifest(value)
    image = layout.blob(json.dumps(value).encode(), OCI_MANIFEST, **archives.called("app:1"))
    listed: Json = {"schemaVersion": 2, "manifests": [image]}
    index(listed)
    return changed({**layout.files, "index.json": json.dumps(listed).encode()}, members)


def changed(made: Members, members: Union[Members, Sequence[str]]) -> Members:
    if isinstance(members, dict):
        return {**made, **members}
    return {name: member for name, member in made.items() if name not in members}


def packed(members: Members) -> bytes:
    """The tar."""
    return make_tar(
        [
            entry(name, data=member) if isinstance(member, bytes) else member
            for name, member in members.items()
        ]
    ).read()


def blob(content: bytes) -> str:
    """Where a blob lies in an OCI layout."""
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def flipped(content: bytes, at: int = -1) -> bytes:
    """The same but for one bit, in the middle or at `at`."""
    changing = bytearray(content)
    changing[at if at >= 0 else len(content) // 2] ^= 1
    return bytes(changing)


def special(name: str, kind: bytes, linkname: str = "") -> Members:
    return {name: entry(name, kind, linkname=linkname)}


def unpacked(members: Members, root: Path) -> None:
    """The directory."""
    for name, member in members.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(member, Made):
            _make_special(path, member)
        else:
            path.write_bytes(member)


def _make_special(path: Path, member: Made) -> None:
    if member.type == tarfile.DIRTYPE:
        path.mkdir()
    elif member.type == tarfile.SYMTYPE:
        path.symlink_to(member.linkname)
    elif member.type == tarfile.FIFOTYPE:
        os.mkfifo(path)
    else:
        os.mknod(path, 0o20600, os.makedev(1, 3))
