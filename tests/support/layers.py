"""Layer tars for tests: the recorded tar-split files of real daemons, and tars made on the spot."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ovl1.formats.tarsplit import Entry, read
from ovl1.model import DiffId
from tests.support.sources import ROOT

RECORDED = ROOT / "tests" / "data" / "tarsplit"


class Recorded(NamedTuple):
    """A layer that a real daemon stored."""

    name: str
    diff_id: DiffId
    contents: Optional[Dict[bytes, bytes]]
    """By name as in the tar; None if it is too much to keep here."""

    def file(self) -> BinaryIO:
        return io.BytesIO((RECORDED / f"{self.name}.json.gz").read_bytes())

    def entries(self) -> List[Entry]:
        return list(read(self.file()))


def recorded() -> List[Recorded]:
    known = json.loads((RECORDED / "layers.json").read_text(encoding="utf-8"))
    return [
        Recorded(name, DiffId.parse(layer["diff_id"]), _decoded(layer.get("contents")))
        for name, layer in sorted(known.items())
    ]


def _decoded(contents: Optional[Mapping[str, str]]) -> Optional[Dict[bytes, bytes]]:
    if contents is None:
        return None
    return {base64.b64decode(name): base64.b64decode(data) for name, data in contents.items()}


class MemoryContents:
    """`Contents` from a mapping of cleaned paths; counts what is open."""

    def __init__(self, files: Mapping[bytes, bytes]) -> None:
        self.files = files

    def open(self, parts: Sequence[bytes]) -> int:
        path = b"/".join(parts)
        if path not in self.files:
            raise FileNotFoundError(2, os.strerror(2), os.fsdecode(path))
        with tempfile.TemporaryFile() as scratch:
            scratch.write(self.files[path])
            scratch.seek(0)
            return os.dup(scratch.fileno())


class Made(tarfile.TarInfo):
    """An entry to be written, with its content."""

    data = b""


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> Made:
    """One entry to be made; `fields` are those of `tarfile.TarInfo`, and `data`, the content."""
    info = Made(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_000_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(info.data)
    return info


def make_tar(entries: Sequence[Made], fmt: int = tarfile.PAX_FORMAT) -> BinaryIO:
    """A tar of entries made with `entry`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as tar:
        for info in entries:
            tar.addfile(info, io.BytesIO(info.data))
    out.seek(0)
    return out


def snapshot(root: Path) -> Dict[bytes, object]:
    """Everything that a change of a tree could change, but link counts and what reading changes."""
    found: Dict[bytes, object] = {}
    base = os.fsencode(root)
    for directory, folders, files in os.walk(base):
        for name in (b".", *folders, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            names = os.listxattr(path, follow_symlinks=False)
            attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in names}
            data = b""
            if os.path.islink(path):
                data = os.readlink(path)
            elif os.path.isfile(path):
                data = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, base)] = (
                (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_rdev),
                (status.st_mtime_ns, attributes, data),
            )
    return found
