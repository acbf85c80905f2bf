"""Compressed layers: every format, several streams, damage, and bombs in constant memory."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import os
import sys
import tracemalloc
from typing import Callable, Dict

import pytest

from ovl1.errors import LayerError, NotPossibleHere
from ovl1.formats.compressed import decompressed


def zstd(data: bytes) -> bytes:
    """As the program zstd does it; without a checksum, some damage could not be seen."""
    module = pytest.importorskip("zstandard")
    compressed: bytes = module.ZstdCompressor(write_checksum=True).compress(data)
    return compressed


FORMATS: Dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}
DATA = b"".join(b"%d\n" % number for number in range(100_000))

each = pytest.mark.parametrize("name", FORMATS)


def read(data: bytes) -> bytes:
    return b"".join(decompressed(io.BytesIO(data)))


@pytest.mark.parametrize("data", [b"", b"x", b"BZh1 is a name", DATA])
def test_what_is_not_compressed_passes(data: bytes) -> None:
    assert read(data) == data


@each
@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_each_format(name: str, data: bytes) -> None:
    assert read(FORMATS[name](data)) == data


@each
def test_a_byte_at_a_time(name: str) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(1, size or 0))

    assert b"".join(decompressed(Slow(FORMATS[name](DATA[:5000])))) == DATA[:5000]


@each
def test_several_streams_and_zeros_behind_them(name: str) -> None:
    compress = FORMATS[name]
    padded = compress(DATA) + compress(b"") + bytes(4) + compress(b"end") + bytes(300_000)
    assert read(padded) == DATA + b"end"


@each
def test_a_cut_is_noticed(name: str) -> None:
    whole = FORMATS[name](DATA[:1000])
    for length in range(12, len(whole), 7):
        with pytest.raises(LayerError, match=f"cut short: its {name} data|{name} data are damaged"):
            read(whole[:length])


@each
def test_damage_and_garbage_are_noticed(name: str) -> None:
    whole = FORMATS[name](os.urandom(5000))
    with pytest.raises(LayerError, match=f"{name} data"):
        read(whole[:100] + bytes(byte ^ 0x55 for byte in whole[100:3000]) + whole[3000:])
    with pytest.raises(LayerError, match=f"{name} data"):
        read(whole + b"garbage")


def test_zstd_may_begin_with_a_skippable_frame() -> None:
    assert read(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(DATA)) == DATA


@each
def test_a_bomb_takes_no_memory(name: str) -> None:
    size = 256 << 20
    bomb = FORMATS[name](bytes(size))
    assert len(bomb) < size / 500
    tracemalloc.start()
    total = sum(map(len, decompressed(io.BytesIO(bomb))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == size
    assert peak < 40 << 20


def test_zstd_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zstd(DATA)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(NotPossibleHere) as caught:
        read(data)
    assert "pip install 'ovl1[zstd]'" in str(caught.value)
    assert importlib.import_module("gzip") is gzip
