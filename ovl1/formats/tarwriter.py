"""Tar headers as Docker writes them, to the byte.

A layer's digest covers its headers, so there is only one right way to write one: that of Go's
``archive/tar`` when it is asked for PAX. That is a plain ustar header wherever one can say it all
(a long ASCII name is split at a slash then); else an extended header precedes it, named
``PaxHeaders.0`` in the entry's directory, whose records are sorted and say only what the ustar
header cannot. Limits: no global headers, no sparse files; contents are the caller's.
"""

from __future__ import annotations

import struct
from typing import Dict, Tuple

from ovl1.errors import LayerError
from ovl1.formats.tarheader import (
    BLOCK,
    BLOCK_DEVICE,
    CHAR,
    FIFO,
    FILE,
    TarEntry,
)
from ovl1.formats.whiteouts import clean, shown

END = bytes(2 * BLOCK)
"""What follows the last entry."""

_NAME, _PREFIX, _OWNER = 100, 155, 32
_NUMBER, _LARGE = 8, 12
# Name, mode, uid, gid, size, mtime, checksum; kind, link; magic; names of user and group; major,
# minor, prefix.
_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_CHECKSUM = 148
_MAGIC = b"ustar\x0000"
_EXTENDED = b"x"
_NO_SLASH = frozenset((FILE, CHAR, BLOCK_DEVICE, FIFO))
_LONGEST_SPECIAL = 1 << 20
_SECOND = 1_000_000_000

_Records = Dict[bytes, bytes]


def header(entry: TarEntry) -> bytes:
    """All blocks that precede the content of `entry`; `stored` is not looked at.

    Raises:
        LayerError: no tar can say this; names the entry.
    """
    if entry.kind in _NO_SLASH and entry.name.endswith(b"/"):
        raise _cannot(entry, "its name ends in a slash")
    for number in (entry.mode, entry.major, entry.minor):
        if not _fits(number, _NUMBER):
            raise _cannot(entry, f"{number} is too large a number for its field")
    records = _records(entry)
    prefix, name = _split(entry.name)
    if not records.keys() - {b"path"} and (prefix or b"path" not in records):
        return _block(entry, name, prefix)
    return _extended(entry, records) + _block(entry, _ascii(entry.name), b"")


def padding(size: int) -> bytes:
    """What fills the last block of a content of `size` bytes."""
    return bytes(-size % BLOCK)


def _records(entry: TarEntry) -> _Records:
    """What a ustar header's fields, without a prefix, cannot hold."""
    records: _Records = {}
    for key, text, width in (
        (b"path", entry.name, _NAME),
        (b"linkpath", entry.linkname, _NAME),
        (b"uname", entry.uname, _OWNER),
        (b"gname", entry.gname, _OWNER),
    ):
        if len(text) > width or not _is_ascii(text):
            records[key] = text
    for key, number, width in (
        (b"uid", entry.uid, _NUMBER),
        (b"gid", entry.gid, _NUMBER),
        (b"size", entry.size, _LARGE),
    ):
        if not _fits(number, width):
            records[key] = b"%d" % number
    if entry.mtime_ns % _SECOND or not _fits(entry.mtime_ns // _SECOND, _LARGE):
        records[b"mtime"] = _time(entry.mtime_ns)
    if entry.atime_ns is not None:
        records[b"atime"] = _time(entry.atime_ns)
    for attribute, value in entry.xattrs.items():
        records[b"SCHILY.xattr." + attribute.encode("utf-8", "surrogateescape")] = value
    return records


def _extended(entry: TarEntry, records: _Records) -> bytes:
    for key, value in records.items():
        if b"=" in key or b"\0" in key or (key in (b"path", b"linkpath") and b"\0" in value):
            raise _cannot(entry, f"a record cannot say {shown(key)}")
    body = b"".join(_record(key, value) for key, value in sorted(records.items()))
    if len(body) > _LONGEST_SPECIAL:
        raise _cannot(entry, f"its extended header would have {len(body)} bytes")
    directory, slash, base = entry.name.rpartition(b"/")
    name = clean(b"/".join(filter(None, (directory or slash, b"PaxHeaders.0", base))))
    zero, size = _octal(0, _NUMBER), _octal(len(body), _LARGE)
    block = _sealed(
        (_ascii(name)[:_NAME].rstrip(b"/"), zero, zero, zero, size, _octal(0, _LARGE)),
        (_EXTENDED, b"", _MAGIC, b"", b"", b"", b"", b""),
    )
    return block + body + padding(len(body))


def _block(entry: TarEntry, name: bytes, prefix: bytes) -> bytes:
    owner = (_octal(entry.uid, _NUMBER), _octal(entry.gid, _NUMBER))
    content = (_octal(entry.size, _LARGE), _octal(entry.mtime_ns // _SECOND, _LARGE))
    device = (_octal(entry.major, _NUMBER), _octal(entry.minor, _NUMBER))
    return _sealed(
        (_cut(name), _octal(entry.mode, _NUMBER), *owner, *content),
        (
            entry.kind.encode("latin-1"),
            _cut(_ascii(entry.linkname)),
            _MAGIC,
            _ascii(entry.uname),
            _ascii(entry.gname),
            *device,
            prefix,
        ),
    )


def _sealed(start: Tuple[bytes, ...], rest: Tuple[bytes, ...]) -> bytes:
    """A block of the fields on either side of the checksum, which counts itself as spaces."""
    block = _FIELDS.pack(*start, b" " * 8, *rest)
    return block[:_CHECKSUM] + b"%06o\0 " % sum(block) + block[_CHECKSUM + 8 :]


def _split(name: bytes) -> Tuple[bytes, bytes]:
    """Prefix and rest of a name that is too long for its field; no prefix if it cannot be split."""
    if len(name) <= _NAME or not _is_ascii(name):
        return b"", name
    # A slash at the end, as directories have it, is no place to split at.
    slash = name.rfind(b"/", 0, min(_PREFIX + 1, len(name) - name.endswith(b"/")))
    rest = name[slash + 1 :]
    return (name[:slash], rest) if slash > 0 and 0 < len(rest) <= _NAME else (b"", name)


def _cut(name: bytes) -> bytes:
    """What of a name goes into the field for it, if a record says the whole."""
    if len(name) <= _NAME or name[_NAME - 1 : _NAME] != b"/":
        return name[:_NAME]
    # A reader that knows no records would take a file for a directory.
    kept = len(name[:_NAME].rstrip(b"/"))
    return name[:kept] + b"\0" + name[kept + 1 : _NAME]


def _record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + len(" =\n")
    size += len(str(size))
    record = b"%d %s=%s\n" % (size, key, value)
    return record if len(record) == size else b"%d %s=%s\n" % (len(record), key, value)


def _time(ns: int) -> bytes:
    seconds, fraction = divmod(abs(ns), _SECOND)
    text = b"-%d" % seconds if ns < 0 else b"%d" % seconds
    return text + (b".%09d" % fraction).rstrip(b"0") if fraction else text


def _octal(number: int, width: int) -> bytes:
    """Zeros where a record has to say it."""
    return b"%0*o" % (width - 1, number if _fits(number, width) else 0)


def _fits(number: int, width: int) -> bool:
    return 0 <= number < 1 << 3 * (width - 1)


def _is_ascii(text: bytes) -> bool:
    return text.isascii() and b"\0" not in text


def _ascii(text: bytes) -> bytes:
    return text if _is_ascii(text) else bytes(byte for byte in text if 0 < byte < 0x80)


def _cannot(entry: TarEntry, why: str) -> LayerError:
    return LayerError(f"{shown(entry.name)} cannot be put into a tar", details=why)
