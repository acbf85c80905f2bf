"""One tar made a layer of a store: read once, by two processes.

The other one decompresses the stream, hashes it and writes its tar-split, while this one applies
what comes out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, NamedTuple, Optional

from ovl1.errors import Refused
from ovl1.formats import compressed, tarsplit
from ovl1.formats.tarstream import as_file
from ovl1.images.addition import Addition, NewLayer
from ovl1.images.archive import MOST_LAYERS
from ovl1.layer.apply import Applied
from ovl1.linux.pipeline import Ahead
from ovl1.model import ChainId, DiffId

_CHUNK = 1 << 18


class Hashes(NamedTuple):
    """SHA-256 of what was read, in hexadecimal."""

    tar: str
    """Of the tar."""
    file: str
    """Of the file that it was packed in, if that was asked for, else empty."""


class Filled(NamedTuple):
    """The layer that came of a tar."""

    chain_id: ChainId
    diff_id: DiffId
    applied: Applied
    is_new: bool
    """Whether the store had none like it, so that it was kept."""


def fill(
    addition: Addition,
    parent: Optional[ChainId],
    file: BinaryIO,
    *,
    hash_file: bool = False,
    check: Callable[[Hashes], None] = lambda _: None,
) -> Filled:
    """Make a layer and take it up; if the store has it already, nothing is left of the new one.

    Args:
        parent: the layer that it stands on.
        file: a tar: plain, gzip, bzip2, xz or zstd; read to its end, in another process.
        hash_file: whether to hash the file as it is, too.
        check: may raise when it sees what was read.

    Raises:
        BrokenStore: the parent is missing.
        Refused: the image would have too many layers.
        LayerError: the tar is damaged or hostile; nothing is left of it.
    """
    if addition.depth(parent) >= MOST_LAYERS:
        raise Refused(f"an image can have no more than {MOST_LAYERS} layers")
    below = addition.cache_id(parent)
    with addition.making(below) as cache_id:
        split = addition.tar_split(cache_id)
        addition.driver.create(cache_id, below)
        with Ahead(lambda out: _read(file, split, out, hash_file=hash_file)) as ahead:
            applied = addition.driver.apply_diff(cache_id, below, ahead.stream)
            hashes = ahead.result()
        check(hashes)
    diff_id = DiffId(f"sha256:{hashes.tar}")
    chain_id = ChainId.of(parent, diff_id)
    is_new = not addition.has(chain_id)
    if is_new:
        addition.add_layer(NewLayer(parent, diff_id, cache_id, applied.size, split))
    else:
        addition.drop(cache_id)
    return Filled(chain_id, diff_id, applied, is_new)


def _read(file: BinaryIO, split: Path, out: BinaryIO, *, hash_file: bool) -> Hashes:
    """Pass a layer's tar on to `out`, and write its tar-split file."""
    packed, tar = hashlib.sha256(), hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            packed.update(chunk)
            yield chunk

    plain = compressed.decompressed(as_file(hashed()) if hash_file else file)
    with split.open("xb") as record:
        for chunk in tarsplit.split(as_file(plain), record):
            tar.update(chunk)
            out.write(chunk)
    return Hashes(tar.hexdigest(), packed.hexdigest() if hash_file else "")
