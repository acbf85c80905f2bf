"""``tar-split.json.gz``: a layer's tar without the contents, so that it can be re-assembled.

Format of github.com/vbatts/tar-split, ``tar/storage``: gzip of JSON objects, one a line. Type 2 is
raw bytes (headers, padding, trailer), type 1 stands for the content of a file, with its name, size
and CRC-64 (ISO). There is a type 1 entry after every header, also of links and directories. Only
file names that are not UTF-8 are kept as base64. `split` writes what the daemon 20.10 writes.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import itertools
import json
import zlib
from typing import (
    Any,
    BinaryIO,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Set,
    Union,
)

import fastcrc

from ovl1.closing import Closing
from ovl1.errors import LayerError
from ovl1.formats.seen import Seen
from ovl1.formats.tarheader import GLOBAL_PAX, HeaderParser, TarEntry
from ovl1.formats.tarstream import CHUNK, Content, read_full, refuse_sparse
from ovl1.formats.whiteouts import clean, shown

NO_CONTENT = bytes(8)
"""CRC-64 of nothing: what follows a header that claims a size and has no content, as a link may."""

_FILE, _RAW = 1, 2
_LONGEST_LINE = 64 << 20
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()

# Go's encoding/json escapes what HTML or JavaScript could misread, and every control character.
_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x20), *b"<>&", 0x2028, 0x2029)}
_ESCAPES.update(str.maketrans({"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}))


class Raw(NamedTuple):
    """Bytes of the tar as they are."""

    payload: bytes


class FileEntry(NamedTuple):
    """The place of a file's content in the tar."""

    name: bytes
    """As in the header."""
    size: int
    crc64: bytes
    """8 bytes, big endian; empty if there is no content."""


Entry = Union[Raw, FileEntry]

_RAW_LINE = b'{"type":2,'
"""How Go writes the beginning of a raw entry."""


def crc64(data: bytes, initial: Optional[int] = None) -> int:
    """CRC-64 of `data`, continued from that of what was before it."""
    value: int = fastcrc.crc64.go_iso(data, initial)
    return value


def read(fileobj: BinaryIO) -> Iterator[Entry]:
    """The entries of an open tar-split file, in order; memory does not grow with them.

    Raises:
        LayerError: the file is damaged; says which entry, and how. That a name came twice is told
            at the end.
    """
    return _read(fileobj)


def _read(fileobj: BinaryIO, without: Optional[bytes] = None) -> Iterator[Entry]:
    position = -1
    with Seen() as seen:
        try:
            for position, line in enumerate(_lines(fileobj)):
                if without is not None and line.startswith(without):
                    continue
                entry = _parse(line, position)
                if isinstance(entry, FileEntry):
                    seen.add(entry.name)
                yield entry
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise LayerError(
                f"tar-split is damaged after entry {position}", details=f"gzip: {err}"
            ) from err
        if seen.has_twice():
            _refuse_twice(fileobj)


def _refuse_twice(fileobj: BinaryIO) -> None:
    """Raise `LayerError` for the first name that comes again."""
    fileobj.seek(0)
    names: Set[bytes] = set()
    for position, line in enumerate(_lines(fileobj)):
        entry = _parse(line, position)
        if isinstance(entry, FileEntry):
            _remember(names, entry.name)


def names(fileobj: BinaryIO) -> Iterator[bytes]:
    """The names of the layer's tar, in order: much cheaper than its `headers`.

    Docker 1.8 stored a name that is not UTF-8 with U+FFFD in place of the bytes; only the header
    has them. So from the first such name on, the headers are read after all.

    Raises:
        LayerError: as `read` and `headers`.
    """
    done = 0
    for entry in _read(fileobj, without=_RAW_LINE):
        if isinstance(entry, FileEntry):
            if _REPLACEMENT in entry.name:
                break
            done += 1
            yield entry.name
    else:
        return
    fileobj.seek(0)
    for header in itertools.islice(headers(read(fileobj)), done, None):
        yield header.name


def headers(entries: Iterable[Entry]) -> Iterator[TarEntry]:
    """Each entry of the layer's tar, with all that its header says.

    Raises:
        LayerError: the raw parts are no tar headers, or disagree with the entries between them.
    """
    raw = io.BytesIO()
    segments: List[bytes] = []
    padding = 0

    def take(size: int) -> bytes:
        return raw.read(size)

    parser = HeaderParser(take)
    for entry in entries:
        if isinstance(entry, Raw):
            segments.append(entry.payload)
            continue
        raw = io.BytesIO(b"".join(segments))
        segments.clear()
        parser.offset += raw.seek(padding)
        header = parser.next()
        # Since 1.13 the body of a global PAX header is raw; before, it was taken for a file.
        body = header.stored if header and header.kind == GLOBAL_PAX and not entry.size else 0
        if header is None or len(raw.read()) != body or not _agree(header, entry):
            raise LayerError(f"tar-split has no header for {shown(entry.name)} where it should be")
        parser.offset += header.stored
        padding = header.padding
        yield header


class Writer(Closing):
    """Writes a tar-split file; a context manager.

    Args:
        out: takes the compressed bytes; stays open.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._gzip = gzip.GzipFile("", "wb", 6, out, mtime=0)
        self._names: Set[bytes] = set()
        self._position = 0

    def raw(self, payload: bytes) -> None:
        """Add bytes of the tar."""
        self._write(f'"type":{_RAW}', payload)

    def file(self, name: bytes, size: int, checksum: bytes) -> None:
        """Add the place of a file, of `size` bytes with the CRC-64 `checksum`.

        Raises:
            LayerError: the tar has had that path before, which Docker refuses.
        """
        _remember(self._names, name)
        try:
            key, text = "name", name.decode().translate(_ESCAPES)
        except UnicodeDecodeError:
            key, text = "name_raw", base64.b64encode(name).decode()
        fields = f'"type":{_FILE}' + (f',"{key}":"{text}"' if text else "")
        self._write(fields + (f',"size":{size}' if size else ""), checksum if size else None)

    def close(self) -> None:
        """Write the end of the compressed data."""
        self._gzip.close()

    def _write(self, fields: str, payload: Optional[bytes]) -> None:
        value = "null" if payload is None else f'"{base64.b64encode(payload).decode()}"'
        line = f'{{{fields},"payload":{value},"position":{self._position}}}\n'
        self._gzip.write(line.encode())
        self._position += 1


def split(tar: BinaryIO, out: BinaryIO) -> Iterator[bytes]:
    """Pass a layer's tar on, unchanged, in chunks, and write its tar-split file meanwhile.

    The file is complete when the iterator is exhausted: whoever takes the chunks takes all, also
    those behind the end of the archive.

    Raises:
        LayerError: not a tar archive, or one that Docker could not re-assemble.
    """
    raw: List[bytes] = []

    def take(size: int) -> bytes:
        data = read_full(tar, size)
        raw.append(data)
        return data

    parser = HeaderParser(take)
    with Writer(out) as writer:
        for entry in iter(parser.next, None):
            refuse_sparse(entry)
            size, content = entry.size, Content(tar, entry.stored)
            if entry.kind == GLOBAL_PAX:
                raw.extend(content)
                size = 0
            segment = b"".join(raw)
            raw.clear()
            writer.raw(segment)
            yield segment
            checksum = crc64(b"")
            for chunk in content:
                checksum = crc64(chunk, checksum)
                yield chunk
            writer.file(entry.name, size, checksum.to_bytes(8, "big"))
            take(entry.padding)
            parser.offset += entry.stored + entry.padding
        behind_the_end: Iterator[bytes] = iter(lambda: read_full(tar, CHUNK), b"")
        for segment in itertools.chain([b"".join(raw)], behind_the_end):
            writer.raw(segment)
            yield segment
        writer.raw(b"")


def _lines(fileobj: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=fileobj) as lines:
        start = lines.peek(1)
        # An empty file is no gzip at all, but Python reads it as one; crashes left many.
        if not start and not fileobj.tell():
            raise EOFError("the file is empty")
        while True:
            line = lines.readline(_LONGEST_LINE)
            if not line:
                return
            if len(line) == _LONGEST_LINE:
                raise LayerError(f"tar-split has a line of more than {_LONGEST_LINE} bytes")
            yield line


def _parse(line: bytes, position: int) -> Entry:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        if _integer(fields, "position") != position:
            raise ValueError(f"its position is {fields['position']}")
        kind, payload = _integer(fields, "type"), _base64(fields, "payload")
        if kind == _RAW:
            return Raw(payload)
        if kind != _FILE:
            raise ValueError(f"unknown type {kind}")
        size = _integer(fields, "size", 0)
        if not 0 <= size < 1 << 63:
            raise ValueError(f"size {size}")
        if size and len(payload) != 8:
            raise ValueError("no CRC-64")
        return FileEntry(_name(fields), size, payload if size else b"")
    except (ValueError, RecursionError) as err:
        raise LayerError(f"tar-split entry {position} is damaged", details=str(err)) from err


def _name(fields: Dict[str, Any]) -> bytes:
    name = fields.get("name", "")
    if not isinstance(name, str):
        raise ValueError("the name is not a string")
    return _base64(fields, "name_raw") or name.encode()


def _integer(fields: Dict[str, Any], key: str, default: Optional[int] = None) -> int:
    value = fields.get(key, default)
    if type(value) is not int:
        raise ValueError(f"{key} is not a number")
    return value


def _base64(fields: Dict[str, Any], key: str) -> bytes:
    value = fields.get(key)
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a string")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as err:
        raise ValueError(f"{key}: {err}") from err


def _remember(names: Set[bytes], name: bytes) -> None:
    cleaned = clean(name)
    if cleaned in names:
        raise LayerError(
            f"the layer has {shown(name)} twice", details="Docker refuses such a layer, too."
        )
    names.add(cleaned)


def _agree(header: TarEntry, entry: FileEntry) -> bool:
    if header.kind == GLOBAL_PAX:
        return entry.size in (0, header.stored)
    # Docker 1.8 lost the bytes of names that are not UTF-8.
    same_name = header.name == entry.name or _REPLACEMENT in entry.name
    return same_name and header.size == entry.size
