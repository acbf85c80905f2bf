"""The record of a layer: what becomes of each of its names, and how to undo it.

One file, one inode for each layer, written before anything is changed. JSON lines: a header, then
the layer's directories as far as there is something to say about them, nested from `Enter` or
`Gone` to `Leave`; at the end the SHA-256 of all that. Names are bytes: what is not UTF-8 in them is
written as Python's surrogate escapes, which give it back exactly. Read and written as a stream.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List

from ovl1.errors import BrokenStore
from ovl1.linux import durable
from ovl1.linux.xattrs import Xattrs
from ovl1.migrate.inplace.items import (
    Enter,
    Gone,
    Header,
    Hidden,
    Item,
    Keep,
    Leave,
    Metadata,
    Separate,
    Skip,
    Whiteout,
)
from ovl1.model import LayerId

VERSION = 1

_END = "end"


@dataclass(frozen=True)
class Record:
    """A record on the disk that has been found whole."""

    path: Path
    header: Header

    def items(self) -> Iterator[Item]:
        """Read what follows the header, one by one."""
        with self.path.open("rb") as file:
            for line in list_after_header(file):
                tag, *fields = json.loads(line)
                if tag == _END:
                    return
                yield _DECODERS[tag](fields)


def list_after_header(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a record but for the first."""
    lines = iter(file)
    next(lines, None)
    return lines


def write(path: Path, header: Header, items: Iterable[Item]) -> None:
    """Write a record; it is there as a whole and on the disk, or not at all.

    Raises:
        OSError: no space; nothing is left of it.
    """
    made = durable.temporary(path)
    with contextlib.suppress(FileNotFoundError):
        made.unlink()
    try:
        with made.open("xb") as file:
            _write(file, header, items)
            file.flush()
            os.fsync(file.fileno())
        durable.rename(made, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
        raise


def _write(file: BinaryIO, header: Header, items: Iterable[Item]) -> None:
    digest = hashlib.sha256()

    def add(value: object) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        file.write(line)

    add({"version": VERSION, **asdict(header)})
    for item in items:
        add([type(item).__name__.lower(), *map(_plain, item)])
    add([_END])
    file.write(digest.hexdigest().encode() + b"\n")


def read(path: Path) -> Record:
    """Read the record at `path`, all of it, to see that it is whole.

    Raises:
        BrokenStore: it is not, or another version wrote it.
        FileNotFoundError: there is none.
    """
    digest, first, last = hashlib.sha256(), b"", b""
    with path.open("rb") as file:
        for line in file:
            digest.update(last)
            first, last = first or line, line
    try:
        if last != digest.hexdigest().encode() + b"\n":
            raise ValueError("its checksum is wrong")
        fields = json.loads(first)
        if fields.pop("version") != VERSION:
            raise ValueError("another version wrote it")
        return Record(path, _header(fields))
    except (ValueError, KeyError, TypeError) as err:
        raise BrokenStore(
            f"the record of layer {path.name[:12]} cannot be used: {err}",
            details=str(path),
            resolution="Restore it from a backup; without it the layer can be neither converted "
            "nor taken back.",
        ) from err


def _header(fields: Dict[str, Any]) -> Header:
    below = tuple((LayerId.parse(layer), str(tree)) for layer, tree in fields.pop("below"))
    lowers = tuple(LayerId.parse(layer) for layer in fields.pop("lowers"))
    layer_id = LayerId.parse(fields.pop("layer_id"))
    atime, mtime = fields.pop("times_ns")
    return Header(layer_id=layer_id, below=below, lowers=lowers, times_ns=(atime, mtime), **fields)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {name: base64.b64encode(data).decode() for name, data in value.items()}
    if isinstance(value, Metadata):
        return [*value[:-1], _plain(value.xattrs)]
    return value


def _name(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _xattrs(fields: Dict[str, str]) -> Xattrs:
    return {name: base64.b64decode(data) for name, data in fields.items()}


def _metadata(fields: List[Any]) -> Metadata:
    mode, uid, gid, (atime, mtime), attributes = fields
    return Metadata(mode, uid, gid, (atime, mtime), _xattrs(attributes))


_DECODERS: Dict[str, Callable[[List[Any]], Item]] = {
    "enter": lambda f: Enter(_name(f[0]), f[1], f[2], _xattrs(f[3]), (f[4][0], f[4][1])),
    "gone": lambda f: Gone(_name(f[0]), _metadata(f[1])),
    "leave": lambda _: Leave(),
    "keep": lambda f: Keep(_name(f[0])),
    "whiteout": lambda f: Whiteout(_name(f[0])),
    "separate": lambda f: Separate(_name(f[0]), f[1], _xattrs(f[2])),
    "hidden": lambda f: Hidden(_name(f[0]), f[1], _metadata(f[2])),
    "skip": lambda f: Skip(_name(f[0])),
}
