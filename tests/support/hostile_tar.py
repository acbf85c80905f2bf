"""Archives made byte by byte: what no honest program would write, in few words.

Formats: POSIX.1-2001 (ustar, pax) and GNU tar's "Basic Tar Format". Every field of a header can be
given as the number that it should mean or as the raw bytes that are to stand there. Nothing is
checked, and nothing of the code under test is used.
"""

from __future__ import annotations

from typing import Any, Mapping, Union

BLOCK = 512
END = bytes(2 * BLOCK)
TIME = 1_600_000_000
"""Modification time of everything that does not say otherwise, in seconds."""

USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
FILE, HARDLINK, SYMLINK, CHAR, BLOCK_DEVICE = b"0", b"1", b"2", b"3", b"4"
DIR, FIFO, PAX, GLOBAL_PAX, LONG_NAME, LONG_LINK = b"5", b"6", b"x", b"g", b"L", b"K"

_ZSTD_BLOCK = 128 << 10

Field = Union[int, bytes]


def header(
    name: bytes,
    kind: bytes = FILE,
    *,
    size: Field = 0,
    mode: Field = 0o644,
    uid: Field = 0,
    gid: Field = 0,
    mtime: Field = TIME,
    target: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[Field, Field] = (0, 0),
    rest: bytes = b"",
) -> bytes:
    """One block, its checksum right; `rest` is what follows the device: prefix, or GNU's fields."""
    before = name[:100].ljust(100, b"\0") + _number(mode, 8) + _number(uid, 8) + _number(gid, 8)
    before += _number(size, 12) + _number(mtime, 12)
    after = kind + target[:100].ljust(100, b"\0") + magic
    if magic != V7:
        after += bytes(64) + _number(device[0], 8) + _number(device[1], 8) + rest
    return summed(before + b" " * 8 + after.ljust(BLOCK - len(before) - 8, b"\0"))


def summed(block: bytes) -> bytes:
    """The header with its checksum put right."""
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def member(name: bytes, kind: bytes = FILE, data: bytes = b"", **fields: Any) -> bytes:
    """A header, and `data` with its padding behind it."""
    if kind == DIR:
        fields.setdefault("mode", 0o755)
    elif kind == SYMLINK:
        fields.setdefault("mode", 0o777)
    fields.setdefault("size", len(data))
    return header(name, kind, **fields) + padded(data)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def folder(name: bytes, **fields: Any) -> bytes:
    return member(name, DIR, **fields)


def symlink(name: bytes, target: bytes, **fields: Any) -> bytes:
    return member(name, SYMLINK, target=target, **fields)


def hardlink(name: bytes, target: bytes, **fields: Any) -> bytes:
    return member(name, HARDLINK, target=target, **fields)


def pax(records: Union[Mapping[bytes, bytes], bytes], kind: bytes = PAX) -> bytes:
    """An extended header; `records` as bytes stand there as they are."""
    body = records if isinstance(records, bytes) else b"".join(map(record, *zip(*records.items())))
    return member(b"PaxHeaders.0/x", kind, body)


def record(key: bytes, value: bytes) -> bytes:
    """``<length> <key>=<value>\\n``, where the length counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def xattr(name: bytes, value: bytes) -> bytes:
    """An extended header that gives the next entry an extended attribute."""
    return pax({b"SCHILY.xattr." + name: value})


def long_name(name: bytes, kind: bytes = LONG_NAME) -> bytes:
    """GNU's way to give the next entry a name (or a target) of any length."""
    return member(b"././@LongLink", kind, name + b"\0", magic=GNU)


def base256(value: int, width: int) -> bytes:
    """GNU's binary numbers: two's complement with the first bit set."""
    return ((value & ((1 << (8 * width - 1)) - 1)) | 1 << (8 * width - 1)).to_bytes(width, "big")


def tar(*members: bytes) -> bytes:
    return b"".join(members) + END


def zstd(data: bytes) -> bytes:
    """A Zstandard frame (RFC 8878): a run of one byte compressed as such, all else as it is."""
    blocks = []
    for start in range(0, len(data), _ZSTD_BLOCK):
        chunk = data[start : start + _ZSTD_BLOCK]
        is_run = len(set(chunk)) == 1
        head = (start + len(chunk) == len(data)) | is_run << 1 | len(chunk) << 3
        blocks.append(head.to_bytes(3, "little") + (chunk[:1] if is_run else chunk))
    return b"\x28\xb5\x2f\xfd\x00\x38" + (b"".join(blocks) or b"\1\0\0")


def zstd_zeros(start: bytes, count: int) -> bytes:
    """A frame of `start`, shorter than a block, and `count` (a multiple of 128 KiB) zeros."""
    first = (len(start) << 3).to_bytes(3, "little") + start
    run = (1 << 1 | _ZSTD_BLOCK << 3).to_bytes(3, "little") + b"\0"
    head = b"\x28\xb5\x2f\xfd\x00\x38"
    return head + first + run * (count // _ZSTD_BLOCK) + b"\1\0\0"


def _number(value: Field, width: int) -> bytes:
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")[:width]
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return base256(value, width)
