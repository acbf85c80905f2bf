"""Tar headers, from the raw bytes between two file contents to a `TarEntry`.

Formats: POSIX.1-2001 pax "Interchange Format" with its ustar and v7 ancestors, and the GNU tar
manual's "Basic Tar Format". What is accepted is what Go's ``archive/tar`` accepts, because Docker
read every layer with it: checksums with signed or unsigned bytes, base-256 numbers, empty PAX
values that mean "keep the header's own". Like there, and so in Docker, a global PAX header is an
entry of its own and changes no other. Limits: contents are not read, so of a sparse file only name
and size are known; old GNU sparse files (type ``S``), which Docker refuses too, are refused.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Optional

from ovl1.errors import LayerError

BLOCK = 512

# The kind of an entry is its type flag; any other flag stands for itself.
FILE, HARDLINK, SYMLINK, CHAR, BLOCK_DEVICE, DIR, FIFO = "0", "1", "2", "3", "4", "5", "6"
GLOBAL_PAX = "g"
_PAX, _GNU_NAME, _GNU_LINK, _GNU_SPARSE = "x", "L", "K", "S"
_WITHOUT_CONTENT = frozenset((HARDLINK, SYMLINK, CHAR, BLOCK_DEVICE, DIR, FIFO))

_LONGEST_SPECIAL = 1 << 20
_ZEROS = bytes(BLOCK)
# name, mode, uid, gid, size, mtime, checksum, type flag, link name, magic and version
_V7 = struct.Struct("100s8s8s8s12s12s8sc100s8s")
_GNU_MAGIC = b"ustar  \0"
_MOST = 1 << 63
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_TIME = re.compile(rb"([+-]?[0-9]+)(?:\.([0-9]*))?")
_XATTR = b"SCHILY.xattr."
_STRINGS = frozenset((b"path", b"linkpath", b"uname", b"gname"))
_SPARSE_VERSIONS = frozenset(((b"0", b"0"), (b"0", b"1"), (b"1", b"0")))

Records = Dict[bytes, bytes]
Fields = Dict[str, Any]


@dataclass(frozen=True)
class TarEntry:
    """One entry of an archive, all extended headers merged in."""

    name: bytes
    """As in the header: with ``./``, slashes at the end, whatever the archive has."""
    kind: str
    mode: int = 0
    """As in the header; only the lowest 12 bits are permissions."""
    uid: int = 0
    gid: int = 0
    size: int = 0
    """Bytes of the file; links and directories may claim some too, and have none."""
    stored: int = 0
    """Bytes between this header and the next one, without padding; not `size` if sparse."""
    mtime_ns: int = 0
    atime_ns: Optional[int] = None
    linkname: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: Dict[str, bytes] = field(default_factory=dict)
    uname: bytes = b""
    """Not read from archives, which Docker does not go by."""
    gname: bytes = b""

    @property
    def padding(self) -> int:
        """Bytes that fill the last block of the content."""
        return -self.stored % BLOCK

    @property
    def is_sparse(self) -> bool:
        """Whether what is stored is not the file's content as such."""
        return self.kind == FILE and self.stored != self.size


class HeaderParser:
    """Takes the headers of one archive, one after the other.

    Args:
        read: ``read(n)`` gives the archive's next `n` bytes, fewer only where it ends. Whoever
            supplies it skips each entry's content and padding, and adds them to `offset`.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.offset = 0
        """Where in the archive the next byte stands; for error messages."""

    def next(self) -> Optional[TarEntry]:
        """The next entry; None at the end: two zero blocks, or one or none and nothing more.

        Raises:
            LayerError: what stands there is no header; names the offset.
        """
        records: Records = {}
        long_name = long_link = b""
        while True:
            start = self.offset
            try:
                block = self._next_block()
                if block is None:
                    return None
                fields = _parse(block)
                kind = fields["kind"]
                if kind == _PAX:
                    records = _parse_records(self._special(fields["size"]))
                elif kind == _GNU_NAME:
                    long_name = _string(self._special(fields["size"]))
                elif kind == _GNU_LINK:
                    long_link = _string(self._special(fields["size"]))
                elif kind == GLOBAL_PAX:
                    _limit(fields["size"])
                    return TarEntry(**fields)
                else:
                    return _merged(fields, records, long_name, long_link)
            except ValueError as err:
                raise LayerError(f"bad tar header at byte {start}", details=str(err)) from err

    def _next_block(self) -> Optional[bytes]:
        block = self._take(BLOCK)
        if block == _ZEROS:
            block = self._take(BLOCK)
            if block not in (_ZEROS, b""):
                raise ValueError("a lone block of zeros")
            return None
        if len(block) not in (0, BLOCK):
            raise ValueError("the archive ends within a header")
        return block or None

    def _special(self, size: int) -> bytes:
        _limit(size)
        body = self._take(size)
        if len(body) < size:
            raise ValueError("the archive ends within an extended header")
        self._take(-size % BLOCK)
        return body

    def _take(self, size: int) -> bytes:
        data = self._read(size)
        self.offset += len(data)
        return data


def _limit(size: int) -> None:
    if size > _LONGEST_SPECIAL:
        raise ValueError(f"an extended header of {size} bytes")


def _parse(block: bytes) -> Fields:
    """What a single block says, as fields of `TarEntry`."""
    name, mode, uid, gid, size_field, mtime, checksum, flag, linkname, magic = _V7.unpack_from(
        block
    )
    _verify_checksum(block, checksum)
    kind = flag.decode("latin-1")
    size = _number(size_field)
    if size < 0:
        raise ValueError("a negative size")
    fields = {
        "name": _string(name),
        "kind": kind,
        "mode": _number(mode),
        "uid": _number(uid),
        "gid": _number(gid),
        "size": size,
        "stored": 0 if kind in _WITHOUT_CONTENT else size,
        "mtime_ns": _number(mtime) * 1_000_000_000,
        "linkname": _string(linkname),
    }
    if magic[:6] == b"ustar\0" or magic == _GNU_MAGIC:
        _parse_extension(block, fields, is_gnu=magic == _GNU_MAGIC)
    return fields


def _parse_extension(block: bytes, fields: Fields, *, is_gnu: bool) -> None:
    """Add device number, access time and prefix of the name, where the format has them."""
    fields["major"], fields["minor"] = _number(block[329:337]), _number(block[337:345])
    prefix = b""
    if is_gnu:
        try:
            _number(block[357:369])
            if block[345]:
                fields["atime_ns"] = _number(block[345:357]) * 1_000_000_000
        except ValueError:
            # Go before 1.8 wrote a prefix where GNU has its times.
            prefix = _string(block[345:500])
            prefix = b"" if any(byte >= 0x80 for byte in prefix) else prefix
    elif block[508:512] == b"tar\0":
        prefix = _string(block[345:476])
        fields["atime_ns"] = _number(block[476:488]) * 1_000_000_000
    else:
        prefix = _string(block[345:500])
    if prefix:
        fields["name"] = prefix + b"/" + fields["name"]


def _verify_checksum(block: bytes, checksum: bytes) -> None:
    wanted = _octal(checksum)
    # The checksum itself counts as eight spaces.
    unsigned = _sum(block[:256]) + _sum(block[256:]) - _sum(checksum) + 8 * 0x20
    if wanted == unsigned:
        return
    high = sum(byte >= 0x80 for byte in block) - sum(byte >= 0x80 for byte in checksum)
    if wanted != unsigned - 256 * high:
        raise ValueError("the checksum does not match")


def _merged(fields: Fields, records: Records, long_name: bytes, long_link: bytes) -> TarEntry:
    """The entry of a header, after what extended headers before it said."""
    if records:
        fields.update(_changes(records))
    if long_name:
        fields["name"] = long_name
    if long_link:
        fields["linkname"] = long_link
    kind, size = fields["kind"], fields["size"]
    if kind == _GNU_SPARSE:
        raise ValueError("an old GNU sparse file")
    if kind == "\0":
        kind = fields["kind"] = DIR if fields["name"].endswith(b"/") else FILE
    if size < 0:
        raise ValueError("a negative size")
    fields["stored"] = 0 if kind in _WITHOUT_CONTENT else size
    if records and _is_sparse(records):
        if kind in _WITHOUT_CONTENT:
            raise ValueError("a sparse link or directory")
        fields["name"] = records.get(b"GNU.sparse.name") or fields["name"]
        real = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize")
        fields["size"] = _integer(real) if real else size
    return TarEntry(**fields)


def _changes(records: Records) -> Fields:
    changes: Fields = {}
    xattrs: Dict[str, bytes] = {}
    for key, value in records.items():
        if not value:
            continue
        if key == b"path":
            changes["name"] = value
        elif key == b"linkpath":
            changes["linkname"] = value
        elif key in (b"uid", b"gid", b"size"):
            changes[key.decode()] = _integer(value)
        elif key in (b"mtime", b"atime"):
            changes[key.decode() + "_ns"] = _time_ns(value)
        elif key.startswith(_XATTR):
            xattrs[key[len(_XATTR) :].decode()] = value
    if xattrs:
        changes["xattrs"] = xattrs
    return changes


def _is_sparse(records: Records) -> bool:
    version = (records.get(b"GNU.sparse.major", b""), records.get(b"GNU.sparse.minor", b""))
    if any(version):
        return version in _SPARSE_VERSIONS
    return bool(records.get(b"GNU.sparse.map")) or b"GNU.sparse.offset" in records


def _parse_records(body: bytes) -> Records:
    records: Records = {}
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 20)
        length = _integer(body[at:space]) if space > 0 else 0
        end = at + length
        if length < 5 or end > len(body) or body[end - 1 : end] != b"\n":
            raise ValueError("a damaged PAX record")
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if not (key and equals) or b"\0" in (value if key in _STRINGS else key):
            raise ValueError("a PAX record with a forbidden name or value")
        records[key] = value
        at = end
    return records


def _sum(data: bytes) -> int:
    """The sum of at most 256 bytes: what Adler-32 begins with, and many times faster than `sum`."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _string(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


# An archive has few owners, modes and times; its sizes take what is left.
@functools.lru_cache(maxsize=4096)
def _number(data: bytes) -> int:
    if not data[0] & 0x80:
        return _octal(data)
    # GNU's base 256: two's complement, big endian, in all bits but the first.
    bits = 8 * len(data) - 1
    value = int.from_bytes(data, "big") & ((1 << bits) - 1)
    if value >> (bits - 1):
        value -= 1 << bits
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a number beyond 64 bits")
    return value


def _octal(data: bytes) -> int:
    digits = _string(data.strip(b" \0"))
    if digits.translate(None, b"01234567"):
        raise ValueError(f"{digits!r} is not an octal number")
    return int(digits or b"0", 8)


def _integer(text: bytes) -> int:
    if not _INTEGER.fullmatch(text) or len(text) > 20 or not -_MOST <= int(text) < _MOST:
        raise ValueError(f"{text[:40]!r} is not a number of 64 bits")
    return int(text)


def _time_ns(text: bytes) -> int:
    match = _TIME.fullmatch(text)
    if not match or len(match.group(1)) > 20:
        raise ValueError(f"{text[:40]!r} is not a time")
    seconds, fraction = int(match.group(1)), int((match.group(2) or b"").ljust(9, b"0")[:9])
    sign = -1 if text.startswith(b"-") else 1
    return seconds * 1_000_000_000 + sign * fraction
