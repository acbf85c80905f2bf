"""Tar headers: what Go accepts is accepted, what is wrong is refused with its place."""

from __future__ import annotations

import io
import tarfile
from typing import Dict, List, Optional

import pytest

from ovl1.errors import LayerError
from ovl1.formats import tarheader
from ovl1.formats.tarheader import HeaderParser, TarEntry


def block(
    name: bytes = b"a",
    kind: bytes = b"0",
    *,
    magic: bytes = b"ustar\x0000",
    fields: Optional[Dict[int, bytes]] = None,
    size: int = 0,
    signed: bool = False,
) -> bytes:
    """A header block; `fields` are written over it at their offsets."""
    data = bytearray(512)
    data[: len(name)] = name
    data[100:108] = b"0000644\0"
    data[124:136] = b"%011o\0" % size
    data[136:148] = b"%011o\0" % 1234567890
    data[156:157] = kind
    data[257 : 257 + len(magic)] = magic
    for at, value in (fields or {}).items():
        data[at : at + len(value)] = value
    data[148:156] = b" " * 8
    total = sum(data) - (256 * sum(byte >= 128 for byte in data) if signed else 0)
    data[148:156] = b"%06o\0 " % total
    return bytes(data)


def extended(kind: bytes, body: bytes) -> bytes:
    return block(kind=kind, size=len(body)) + body + bytes(-len(body) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    if len(str(total)) + length != total:
        total += 1
    return b"%d %s=%s\n" % (total, key, value)


def pax(**records: bytes) -> bytes:
    body = b"".join(record(key.replace("__", ".").encode(), v) for key, v in records.items())
    return extended(b"x", body)


def parse(data: bytes) -> TarEntry:
    entry = HeaderParser(io.BytesIO(data).read).next()
    assert entry is not None
    return entry


def test_ustar_prefix_and_fields() -> None:
    entry = parse(
        block(
            b"name", b"3", fields={345: b"some/where", 329: b"0000005\0", 337: b"0000001\0"}, size=7
        )
    )
    assert (entry.name, entry.kind, entry.mode) == (b"some/where/name", tarheader.CHAR, 0o644)
    assert (entry.major, entry.minor, entry.mtime_ns) == (5, 1, 1234567890 * 10**9)
    assert (entry.size, entry.stored) == (7, 0)


def test_v7_has_no_prefix_and_its_directories_end_in_a_slash() -> None:
    entry = parse(block(b"dir/", b"\0", magic=b"", fields={345: b"junk"}))
    assert (entry.name, entry.kind) == (b"dir/", tarheader.DIR)
    assert parse(block(b"file", b"\0", magic=b"")).kind == tarheader.FILE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"\x80" + bytes(10) + b"\x07", 7),
        (b"\xff" * 12, -1),
        (b"\xff" * 11 + b"\xfe", -2),
        (b"   17 \0", 15),
        (bytes(12), 0),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert parse(block(fields={136: field.ljust(12, b"\0")})).mtime_ns == value * 10**9


def test_gnu_long_names_win_over_pax() -> None:
    data = extended(b"L", b"n" * 200 + b"\0") + extended(b"K", b"l" * 200 + b"\0")
    entry = parse(pax(path=b"pax") + data + block(kind=b"2", magic=b"ustar  \0"))
    assert (entry.name, entry.linkname) == (b"n" * 200, b"l" * 200)


def test_pax_records() -> None:
    value = bytes(range(256)) * 3
    records = {
        b"path": b"caf\xe9",
        b"size": b"8589934592",
        b"uid": b"3000000",
        b"mtime": b"1.5",
        b"atime": b"-1.25",
        b"SCHILY.xattr.user.bin": value,
        b"SCHILY.xattr.user.empty": b"",
        b"gid": b"",
    }
    body = b"".join(record(*item) for item in records.items())
    entry = parse(extended(b"x", body) + block(fields={116: b"0000007\0"}))
    assert (entry.name, entry.size, entry.stored) == (b"caf\xe9", 1 << 33, 1 << 33)
    assert (entry.uid, entry.gid) == (3000000, 7)
    assert (entry.mtime_ns, entry.atime_ns) == (1_500_000_000, -1_250_000_000)
    assert entry.xattrs == {"user.bin": value}


def test_global_headers_are_handed_on_and_change_nothing() -> None:
    data = io.BytesIO(extended(b"g", record(b"path", b"global")) + block(b"own"))
    parser = HeaderParser(data.read)
    first = parser.next()
    assert first is not None
    assert (first.kind, first.stored) == (tarheader.GLOBAL_PAX, 15)
    data.seek(first.stored + first.padding, io.SEEK_CUR)
    second = parser.next()
    assert second is not None
    assert second.name == b"own"


def test_sparse_files_are_recognised() -> None:
    entry = parse(
        pax(
            GNU__sparse__major=b"1",
            GNU__sparse__minor=b"0",
            GNU__sparse__name=b"real",
            GNU__sparse__realsize=b"1000000",
        )
        + block(b"GNUSparseFile.1/real", size=1024)
    )
    assert (entry.name, entry.size, entry.stored) == (b"real", 1000000, 1024)
    assert entry.is_sparse
    assert not parse(block(size=1024)).is_sparse


def test_gnu_access_time_and_the_prefix_that_old_go_wrote_there() -> None:
    gnu = b"ustar  \0"
    assert parse(block(magic=gnu, fields={345: b"00000000144\0"})).atime_ns == 100 * 10**9
    assert parse(block(magic=gnu)).atime_ns is None
    assert parse(block(magic=gnu, fields={345: b"some/where"})).name == b"some/where/a"


def test_signed_checksum() -> None:
    assert parse(block(b"caf\xe9", signed=True)).name == b"caf\xe9"


@pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024), bytes(1024) + b"junk"])
def test_the_end(data: bytes) -> None:
    assert HeaderParser(io.BytesIO(data).read).next() is None


BAD: List[bytes] = [
    block()[:100],
    bytes(512) + block(),
    block().replace(b"a", b"b", 1),
    b"x" * 512,
    block(fields={100: b"0000999\0"}),
    block(fields={136: b"0x17\0\0\0\0\0\0\0\0"}),
    block(fields={124: b"\xff" * 12}),
    block(fields={124: b"\xbf" + b"\xff" * 11}),
    block(kind=b"S", magic=b"ustar  \0"),
    block(kind=b"x", size=1 << 21) + bytes(1 << 21),
    block(kind=b"g", size=1 << 21) + bytes(1 << 21),
    block(kind=b"L", size=100) + b"n" * 50,
    pax(size=b"-1") + block(),
    pax(size=b"1_0") + block(),
    pax(mtime=b"1e3") + block(),
    pax(path=b"a\0b") + block(),
    extended(b"x", b"999 path=a\n") + block(),
    extended(b"x", b"9 path=a\nx") + block(),
    extended(b"x", b"10 path=ab") + block(),
    extended(b"x", b"6 =ab\n") + block(),
    extended(b"x", record(b"SCHILY.xattr.user.\xff", b"v")) + block(),
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_refused_with_its_place(data: bytes) -> None:
    first = block(b"first")
    parser = HeaderParser(io.BytesIO(first + data).read)
    parser.next()
    with pytest.raises(LayerError, match=r"bad tar header at byte (512|1536)\n"):
        parser.next()


def test_agrees_with_tarfile_on_a_device() -> None:
    info = tarfile.TarInfo("dev/null")
    info.type, info.devmajor, info.devminor, info.mode = tarfile.CHRTYPE, 1, 3, 0o666
    entry = parse(info.tobuf(tarfile.GNU_FORMAT))
    assert (entry.kind, entry.major, entry.minor, entry.mode) == (tarheader.CHAR, 1, 3, 0o666)
