"""The demo's image: five layers, the base of them from files that this machine has.

The base takes what everybody may read anyway, up to a limit; the layers above do to it what images
do: add, change, delete, replace a directory, change modes. Only the tars are made here.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO, Iterator, List, NamedTuple, Set, Tuple

APP = "opt/app"
README = f"{APP}/README"
REMOVED_FILE = f"{APP}/part-01/module-1.py"

_PLACES = ("/etc", "/usr/bin", "/usr/share/doc", "/usr/share", "/usr/lib")
_MOST_ENTRIES = 1000  # of each place
_MOST_BYTES = 8 << 20  # of each place
_LARGEST_FILE = 1 << 20
_EVERY = 25
_TIME = 1_500_000_000

_Picked = Tuple[tarfile.TarInfo, bytes]


class SampleLayer(NamedTuple):
    """One layer to be made."""

    what: str
    """In a few words, what it does."""
    entries: int
    """How many entries its tar has."""
    tar: BinaryIO


def sample_layers() -> Iterator[SampleLayer]:
    """The layers, base first; each tar is closed when the next one is asked for."""
    picked: List[_Picked] = []
    with _LayerTar() as layer:
        for place in _PLACES:
            _take(layer, Path(place), picked)
        yield layer.finished("files of this machine")
    with _LayerTar() as layer:
        _application(layer)
        yield layer.finished("adds an application")
    with _LayerTar() as layer:
        for info, data in picked[0::3]:
            layer.add(info, data + b"\n# changed by the third layer\n")
        yield layer.finished("changes files")
    with _LayerTar() as layer:
        for info, _ in picked[1::3]:
            layer.whiteout(info.name)
        layer.whiteout(f"{APP}/tests")
        yield layer.finished("deletes files, a directory")
    with _LayerTar() as layer:
        for info, data in picked[2::3]:
            info.mode ^= 0o010
            layer.add(info, data)
        layer.directory(f"{APP}/static")
        layer.file(f"{APP}/static/.wh..wh..opq", b"")
        layer.file(f"{APP}/static/new.css", b"body { color: black }\n")
        yield layer.finished("replaces a directory, chmod")


class _LayerTar:
    """A tar being written to a file without a name; a context manager."""

    def __init__(self) -> None:
        # Not a context manager of its own here: this class is one.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._names: Set[str] = set()

    def __enter__(self) -> _LayerTar:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def finished(self, what: str) -> SampleLayer:
        self._tar.close()
        self._file.seek(0)
        return SampleLayer(what, len(self._names), self._file)

    def add(self, info: tarfile.TarInfo, data: bytes = b"") -> None:
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))
        self._names.add(info.name)

    def add_from(self, path: Path, name: str, data: bytes) -> tarfile.TarInfo:
        """Add what is at `path`; a second name of a file becomes a hard link."""
        info = self._tar.gettarinfo(os.fspath(path), name)
        info.mtime = int(info.mtime)  # Else each entry has an extended header for the fraction.
        self.add(info, data if info.isreg() else b"")
        return info

    def file(self, name: str, data: bytes) -> None:
        self.add(_info(name, tarfile.REGTYPE, 0o644), data)

    def directory(self, name: str) -> None:
        self.add(_info(name, tarfile.DIRTYPE, 0o755))

    def symlink(self, name: str, target: str) -> None:
        info = _info(name, tarfile.SYMTYPE, 0o777)
        info.linkname = target
        self.add(info)

    def whiteout(self, name: str) -> None:
        parent, _, last = name.rpartition("/")
        self.file(f"{parent}/.wh.{last}", b"")


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, _TIME
    return info


def _application(layer: _LayerTar) -> None:
    layer.directory("opt")
    layer.directory(APP)
    layer.file(README, b"An application of the demo.\n")
    for part in [*(f"part-{number:02}" for number in range(40)), "static", "tests"]:
        layer.directory(f"{APP}/{part}")
        for number in range(8):
            text = f"# module {number} of {part}\n" * (number + 1)
            layer.file(f"{APP}/{part}/module-{number}.py", text.encode())
        layer.symlink(f"{APP}/{part}/latest.py", "module-7.py")


def _take(layer: _LayerTar, place: Path, picked: List[_Picked]) -> None:
    """Add what is at `place`, up to the limits; put some of the files into `picked`, too."""
    entries = size = 0
    for path in (*reversed(place.parents), *_below(place)):
        name = os.fspath(path).lstrip("/")
        if not name or name in layer:
            continue
        # Files of a living machine come and go.
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            info = layer.add_from(path, name, data)
            entries, size = entries + 1, size + len(data)
            if info.isreg() and entries % _EVERY == 0:
                picked.append((info, data))
        if entries >= _MOST_ENTRIES or size >= _MOST_BYTES:
            return


def _below(place: Path) -> Iterator[Path]:
    """`place` and what is below it of directories, links and small files that all may read."""
    for root, folders, files in os.walk(place):
        folders[:] = [name for name in sorted(folders) if _is_wanted(Path(root, name))]
        yield Path(root)
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from filter(_is_wanted, (Path(root, name) for name in sorted([*files, *links])))


def _is_wanted(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISREG(status.st_mode):
        return bool(status.st_mode & stat.S_IROTH) and status.st_size <= _LARGEST_FILE
    if stat.S_ISDIR(status.st_mode):
        return bool(status.st_mode & stat.S_IROTH)
    return stat.S_ISLNK(status.st_mode)
