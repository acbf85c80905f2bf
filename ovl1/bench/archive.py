"""Archives as ``docker save`` writes them: a made-up image, and the part of one that is to come.

Layers are streamed; nothing but the manifest and the configurations is held in memory.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

from ovl1.bench.synthetic import Image
from ovl1.errors import WrongUsage
from ovl1.formats import tarwriter
from ovl1.formats.tarheader import BLOCK, FILE, TarEntry
from ovl1.images.dockerarchive import MANIFEST
from ovl1.model import DiffId, Progress, no_progress

NAME = "ovl1-bench/synthetic:latest"
_CREATED = "2017-07-14T02:40:00Z"
_CHUNK = 1 << 20

Opener = Callable[[], BinaryIO]
"""Opens a file from its start."""


def write_archive(image: Image, file: BinaryIO, *, progress: Progress = no_progress) -> None:
    """Write an image into an empty, seekable file.

    Raises:
        WrongUsage: one of its layers is too large for a tar.
    """
    diff_ids: List[DiffId] = []
    layers = image.shape.layers
    for layer in range(layers):
        progress("making the image", layer, layers)
        diff_ids.append(_write_layer(file, f"{layer:03}/layer.tar", image.tar(layer)))
    progress("making the image", layers, layers)
    config = config_of(diff_ids, comment=f"ovl1 bench: {image.shape}", created=_CREATED)
    names = [f"{layer:03}/layer.tar" for layer in range(layers)]
    for name, content in (("config.json", config), (MANIFEST, manifest(NAME, names))):
        file.write(_header(name, len(content)) + content + tarwriter.padding(len(content)))
    file.write(tarwriter.END)
    file.flush()


def config_of(diff_ids: Sequence[str], **more: Any) -> bytes:
    """The configuration of an image of these layers; always the same bytes for the same values."""
    root_fs = {"type": "layers", "diff_ids": list(diff_ids)}
    value = {"architecture": "amd64", "os": "linux", "rootfs": root_fs, "config": {}, **more}
    return json.dumps(value, sort_keys=True).encode()


def manifest(name: str, layers: Sequence[str]) -> bytes:
    """The ``manifest.json`` of one image, whose configuration is ``config.json``."""
    about: Dict[str, Any] = {"Config": "config.json", "RepoTags": [name], "Layers": list(layers)}
    return json.dumps([about], sort_keys=True).encode()


def stream(files: Iterable[Tuple[str, Opener]]) -> Iterator[bytes]:
    """A tar of files, by their names, in pieces; each is opened twice, and closed."""
    for name, opener in files:
        with opener() as file:
            size = sum(map(len, _pieces(file)))
        yield _header(name, size)
        with opener() as file:
            yield from _pieces(file)
        yield tarwriter.padding(size)
    yield tarwriter.END


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _write_layer(file: BinaryIO, name: str, pieces: Iterable[bytes]) -> DiffId:
    """Write a member whose size nobody knows beforehand; what it hashes to."""
    digest = hashlib.sha256()
    start = file.tell()
    file.write(bytes(BLOCK))
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += file.write(piece)
    end = file.tell()
    header = _header(name, size)
    if len(header) != BLOCK:
        raise WrongUsage(
            f"a layer would have {size} bytes, which one header of a tar cannot say",
            resolution="Make smaller or fewer files.",
        )
    file.seek(start)
    file.write(header)
    file.seek(end)
    return DiffId("sha256:" + digest.hexdigest())


def _header(name: str, size: int) -> bytes:
    return tarwriter.header(TarEntry(name.encode(), FILE, 0o644, size=size))
