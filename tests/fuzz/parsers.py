"""What reads bytes from outside and touches no tree: each raises its own error or is right."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import os
import random
import re
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterator, List

from ovl1.errors import ArchiveError, LayerError, NotPossibleHere, OvlError
from ovl1.formats import tarindex, tarsplit, tarstream
from ovl1.formats.compressed import decompressed
from ovl1.images.blobs import TarBlobs
from ovl1.images.load import read_images
from ovl1.images.ocilayout import Platform
from tests.fuzz import apply_target, mutate
from tests.support import archives
from tests.support import hostile_tar as t
from tests.support.layers import recorded

_MOST_OUT = 8 << 20
"""Bytes of output after which a decompression has shown enough."""
_LARGEST_CHUNK = 4 << 20
_PAYLOAD = re.compile(rb'"payload":"((?:[A-Za-z0-9+/]{4})+)[^"]*"')
_POSITION = re.compile(rb'"position":\d+')

_MAGICS = (
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    *(bytes((byte, 0x2A)) for byte in range(80, 96)),
)

Run = Callable[[bytes], None]


@contextlib.contextmanager
def tar(base: Path) -> Iterator[Run]:
    """Archives: what tar-split keeps of one gives it back, and names the same entries."""
    yield _tar


def _tar(data: bytes) -> None:
    with contextlib.suppress(ArchiveError):
        tarindex.index(io.BytesIO(data))
    found = []
    try:
        for entry, content in tarstream.entries(io.BytesIO(data)):
            found.append(entry)
            assert sum(map(len, content)) == entry.stored, "not all of the content"
        split = io.BytesIO()
        chunks = b"".join(tarsplit.split(io.BytesIO(data), split))
    except LayerError:
        return
    assert chunks == data, "changed on the way"
    split.seek(0)
    assert list(tarsplit.headers(tarsplit.read(split))) == found, "not the same entries"


def tar_seeds() -> Dict[str, bytes]:
    return apply_target.seeds()


@contextlib.contextmanager
def tarsplits(base: Path) -> Iterator[Run]:
    """tar-split files, given without their compression."""
    yield _tarsplit


def _tarsplit(data: bytes) -> None:
    packed = gzip.compress(data, 1)
    # What is read lazily is an error only for whoever comes to it.
    for parse in (tarsplit.names, _headers):
        with contextlib.suppress(LayerError):
            for _ in parse(io.BytesIO(packed)):
                pass


def _headers(fileobj: BinaryIO) -> Iterator[object]:
    return tarsplit.headers(tarsplit.read(fileobj))


def tarsplit_seeds() -> Dict[str, bytes]:
    made = {layer.name: gzip.decompress(layer.file().read()) for layer in recorded()}
    for name, data in apply_target.seeds().items():
        out = io.BytesIO()
        with contextlib.suppress(LayerError):
            for _ in tarsplit.split(io.BytesIO(data), out):
                pass
            made[name] = gzip.decompress(out.getvalue())
    return {name: text for name, text in made.items() if len(text) <= mutate.LARGEST}


def mutate_tarsplit(data: bytes, most: int, rnd: random.Random, havoc: mutate.Havoc) -> bytes:
    """A variation whose positions are right, and the checksums of the headers in it."""
    if rnd.random() < 0.3:
        return havoc(data, most)
    lines = data.splitlines()
    if not lines:
        return data
    index = rnd.randrange(len(lines))
    way = rnd.randrange(5)
    if way == 0:
        del lines[index]
    elif way == 1:
        lines.insert(rnd.randrange(len(lines) + 1), lines[index])
    elif way == 2:
        lines[index] = havoc(lines[index], len(lines[index]) + 20)
    else:
        lines[index] = _PAYLOAD.sub(lambda found: _varied(found, rnd, havoc), lines[index])
    numbered = (_POSITION.sub(b'"position":%d' % at, line) for at, line in enumerate(lines))
    return b"".join(line + b"\n" for line in numbered)[:most]


def _varied(found: re.Match[bytes], rnd: random.Random, havoc: mutate.Havoc) -> bytes:
    raw = base64.b64decode(found.group(1))
    made = mutate.tar(raw, mutate.LARGEST, rnd, havoc)
    return b'"payload":"%s"' % base64.b64encode(made[: -len(t.END)] or raw)


@contextlib.contextmanager
def compression(base: Path) -> Iterator[Run]:
    """Compressed data: in pieces of bounded size, and what is not compressed as it is."""
    yield _compression


def _compression(data: bytes) -> None:
    size = 0
    kept: List[bytes] = []
    try:
        for chunk in decompressed(io.BytesIO(data)):
            assert len(chunk) <= _LARGEST_CHUNK, f"{len(chunk)} bytes at once"
            size += len(chunk)
            kept.append(chunk)
            if size > _MOST_OUT:
                return
    except (LayerError, NotPossibleHere):
        return
    if data.startswith(b"\x1f\x8b\x08"):
        assert b"".join(kept) == gzip.decompress(data), "not what gzip makes of it"
    elif not data.startswith(_MAGICS):
        assert b"".join(kept) == data, "not as it is"


def compression_seeds() -> Dict[str, bytes]:
    body = t.tar(t.member(b"x", data=b"x" * 2000))
    made = {"plain": body, "nothing": b"", "zstd": t.zstd(body), "gzip": gzip.compress(body)}
    made["zstd of nothing"] = t.zstd_zeros(b"x", 1 << 20)
    made["two gzips"] = made["gzip"] * 2 + bytes(100)
    made["a skippable frame"] = b"\x50\x2a\x4d\x18\4\0\0\0abcd" + made["zstd"]
    for module in ("bz2", "lzma"):
        made[module] = __import__(module).compress(body)
    return made


@contextlib.contextmanager
def archive(base: Path) -> Iterator[Run]:
    """Archives of images: ``docker save``'s forms and OCI layouts."""
    path = base / "archive.tar"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        before = len(os.listdir("/proc/self/fd"))
        with contextlib.suppress(OvlError), path.open("rb") as file, TarBlobs(file) as blobs:
            read_images(blobs, Platform("linux", "amd64"))
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"

    yield run


def archive_seeds() -> Dict[str, bytes]:
    layers = archives.small_layers()
    layout = archives.Layout()
    described = layout.image(layers, pack="gzip", **archives.called("app:1"))
    made = {
        "docker": archives.docker_archive(layers),
        "old": archives.old_archive(layers),
        "oci": layout.finished(layout.index([described])),
        "platform": layout.finished({**described, **archives.platform("linux/arm/v7")}),
    }
    return {name: archives.packed(files) for name, files in made.items()}


_BLOB = re.compile(rb"blobs/sha256/([0-9a-f]{64})")


def mutate_archive(data: bytes, most: int, rnd: random.Random, havoc: mutate.Havoc) -> bytes:
    """A variation in which blobs hash to their names, or nothing would be read of them."""
    found = mutate.members(mutate.tar(data, most, rnd, havoc))
    # What names a blob lies behind it, and is itself a blob with another hash then.
    for at in range(len(found)):
        member = found[at]
        blob = _BLOB.match(member)
        if blob is None:
            continue
        content = member[t.BLOCK : t.BLOCK + mutate.size_of(member)]
        made = hashlib.sha256(content).hexdigest().encode()
        if made != blob.group(1):
            found = [_renamed(each, blob.group(1), made) for each in found]
    return (b"".join(found) + t.END)[:most]


def _renamed(member: bytes, old: bytes, new: bytes) -> bytes:
    changed = member.replace(old, new)
    return t.summed(changed[: t.BLOCK]) + changed[t.BLOCK :] if mutate.whole(changed) else changed
