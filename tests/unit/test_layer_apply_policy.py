"""What a layer may do: limits, owners, AUFS's hard links, compression, and memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from ovl1.errors import LayerError
from ovl1.formats.tarstream import as_file
from ovl1.layer.apply import Applied, apply_to_root
from ovl1.layer.policy import Policy
from ovl1.linux.beneath import Directory
from ovl1.model import IdMaps, IdRange
from tests.support.layers import Made, entry, make_tar

pytestmark = pytest.mark.needs("root")

DIR, LINK, SYMLINK, CHAR = b"5", b"1", b"2", b"3"


def apply(target: Path, entries: Sequence[Made], policy: Policy) -> Applied:
    with Directory.open(target) as directory:
        return apply_to_root(make_tar(entries), None, directory, policy=policy)


def test_too_many_bytes(tmp_path: Path) -> None:
    entries = [entry("a", data=bytes(20_000))]
    with pytest.raises(LayerError) as caught:
        apply(tmp_path, entries, Policy(max_bytes=20_000))
    assert "raise max_bytes of its Policy" in str(caught.value)
    for name in os.listdir(tmp_path):
        (tmp_path / name).unlink()
    apply(tmp_path, entries, Policy(max_bytes=30_720))


def test_a_bomb_behind_the_end(tmp_path: Path) -> None:
    tar = gzip.compress(make_tar([entry("a")]).read() + bytes(50_000_000))
    with Directory.open(tmp_path) as target, pytest.raises(LayerError, match="more than 1000000 b"):
        apply_to_root(io.BytesIO(tar), None, target, policy=Policy(max_bytes=10**6))


def test_too_many_entries(tmp_path: Path) -> None:
    entries = [entry("pax", b"g"), entry("a"), entry(".wh.a")]
    with pytest.raises(LayerError) as caught:
        apply(tmp_path, entries, Policy(max_entries=2))
    assert "raise max_entries of its Policy" in str(caught.value)


MAPS = IdMaps((IdRange(0, 100_000, 1000),), (IdRange(0, 200_000, 1000),))


def test_ids_are_mapped(tmp_path: Path) -> None:
    entries = [
        entry("d/", DIR, uid=1, gid=2),
        entry("d/f", uid=3, gid=4),
        entry("d/l", SYMLINK, linkname="x", uid=5, gid=6),
        entry("d/c", CHAR, devmajor=1, devminor=3, uid=7),
        entry("implied/f"),
    ]
    apply(tmp_path, entries, Policy(id_maps=MAPS))
    found = {name: os.lstat(tmp_path / name) for name in ("d", "d/f", "d/l", "d/c", "implied")}
    assert {name: (at.st_uid, at.st_gid) for name, at in found.items()} == {
        "d": (100_001, 200_002),
        "d/f": (100_003, 200_004),
        "d/l": (100_005, 200_006),
        "d/c": (100_007, 200_000),
        "implied": (100_000, 200_000),
    }


@pytest.mark.parametrize("kind", [b"0", DIR])
def test_an_id_without_a_place_on_the_host(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match=r"'x/?' belongs to 1000:0: id 1000 is outside") as caught:
        apply(tmp_path, [entry("x", kind, uid=1000)], Policy(id_maps=MAPS))
    assert "/etc/subuid" in str(caught.value)


def test_hard_links_into_what_aufs_kept_are_copies(tmp_path: Path) -> None:
    entries = [
        entry(".wh..wh.plnk/", DIR),
        entry(".wh..wh.plnk/12.34", data=b"kept" * 100_000, uid=5, mode=0o600, mtime=77),
        entry(".wh..wh.plnk/56.78", data=b"other"),
        entry(".wh..wh.aufs", data=b"nothing"),
        entry("a", LINK, linkname=".wh..wh.plnk/12.34", uid=9),
        entry("b", LINK, linkname="./.wh..wh.plnk/12.34"),
        entry("c", LINK, linkname=".wh..wh.plnk/56.78"),
        entry("d", LINK, linkname="a", uid=5, mode=0o600, mtime=77),
    ]
    apply(tmp_path, entries, Policy())
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "d"]
    a, b = (tmp_path / "a").stat(), (tmp_path / "b").stat()
    assert (tmp_path / "b").read_bytes() == b"kept" * 100_000
    assert (tmp_path / "c").read_bytes() == b"other"
    assert a.st_ino != b.st_ino
    assert a.st_ino == (tmp_path / "d").stat().st_ino
    assert (a.st_uid, a.st_mode & 0o777, a.st_mtime) == (5, 0o600, 77)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_layer(compress: object, tmp_path: Path) -> None:
    assert callable(compress)
    tar = make_tar([entry("a", data=b"content")]).read()
    with Directory.open(tmp_path) as target:
        apply_to_root(io.BytesIO(compress(tar)), None, target)
        assert target.lstat(b"a").st_size == 7


@pytest.mark.parametrize("how", ["--sparse-version=0.0", "0.1", "1.0", "gnu"])
def test_a_sparse_file_is_refused(how: str, tmp_path: Path) -> None:
    """Docker 20.10.24 loads the first three, and can never save them; the last it refuses, too."""
    if how == "gnu":
        info = tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)
        block = bytearray(info)
        block[156:157] = b"S"
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        tar, match = bytes(block) + bytes(1024), "GNU sparse"
    else:
        version = how[-3:]
        records = {"GNU.sparse.major": version[0], "GNU.sparse.minor": version[2]}
        info_ = entry("x", data=b"1", pax_headers={**records, "GNU.sparse.realsize": "5000"})
        tar, match = make_tar([info_]).read(), "sparse file"
    with Directory.open(tmp_path) as target, pytest.raises(LayerError) as caught:
        apply_to_root(io.BytesIO(tar), None, target)
    assert match in str(caught.value)


def many(count: int) -> Iterator[bytes]:
    """A tar of so many empty entries, a tenth of them directories, made on the fly."""
    for number in range(count):
        if number % 10 == 0:
            folder = b"folder-%08d/" % number
            yield header(folder, DIR)
        else:
            yield header(folder + b"file-%d" % number, b"0")
    yield bytes(1024)


def header(name: bytes, kind: bytes) -> bytes:
    """As `tarfile` makes it, but much faster."""
    start = name.ljust(100, b"\0") + b"0000755\0" + b"0000000\0" * 2 + b"00000000000\0" * 2
    total = sum(start) + sum(kind) + 8 * 0x20
    return (start + b"%06o\0 " % total + kind).ljust(512, b"\0")


def peak_of(count: int, target: Path) -> int:
    """Most bytes that Python held at a time while a layer of `count` entries was applied."""
    target.mkdir()
    tracemalloc.start()
    try:
        with Directory.open(target) as directory:
            applied = apply_to_root(as_file(many(count)), None, directory)
        assert applied.entries == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_layer(tmp_path: Path, full: bool) -> None:
    """A path for each entry would take 250 bytes, its inode number alone 60."""
    peak_of(100, tmp_path / "first")  # what is imported and cached the first time
    few, more = 1000, 100_000 if full else 15_000
    grown = peak_of(more, tmp_path / "more") - peak_of(few, tmp_path / "few")
    assert grown < (more - few) * 12, f"{grown / (more - few):.1f} bytes for each entry"
