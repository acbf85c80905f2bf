"""Images made up from a few numbers: the same numbers and seed give the same bytes.

The base has all directories, files and symbolic links; each layer above modifies, deletes and adds
files, and names their directories, as layers that Docker makes do. What a directory holds in any
layer follows from its number, so that memory does not grow with the image.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Tuple

from ovl1.errors import WrongUsage
from ovl1.formats import tarwriter
from ovl1.formats.tarheader import DIR, FILE, SYMLINK, TarEntry
from ovl1.formats.whiteouts import PREFIX
from ovl1.images.archive import MOST_LAYERS

Item = Tuple[TarEntry, bytes]
"""An entry of a layer's tar, and its content."""

_IN_GROUP = 17
"""A directory of the top level and those in it."""
_TIME = 1_500_000_000
_NS = 10**9


@dataclass(frozen=True)
class Shape:
    """What an image is to hold.

    Raises:
        WrongUsage: there can be no such image.
    """

    layers: int = 10
    files: int = 5000
    directories: int = 800
    symlinks: int = 600
    """In the base, like the two above. These three are about what a Debian base has."""
    change: float = 0.01
    """Part of `files` that each further layer modifies."""
    add: float = 0.005
    """Part of `files` that it adds."""
    delete: float = 0.005
    """Part of `files` that it deletes."""
    file_size: int = 1024
    """Bytes of an average file."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= MOST_LAYERS:
            raise WrongUsage(f"an image has 1 to {MOST_LAYERS} layers, not {self.layers}")
        if self.directories < 1 or min(self.files, self.symlinks, self.file_size) < 0:
            raise WrongUsage("an image has at least one directory, and nothing less than 0 times")
        if not all(0 <= part <= 1 for part in (self.change, self.add, self.delete)):
            raise WrongUsage("what a layer changes, adds and deletes are parts from 0 to 1")

    def part(self, rate: float) -> int:
        """How many files a part of them is."""
        return int(rate * self.files + 0.5)


class _Content(NamedTuple):
    """What a layer does in one directory; files are numbered as they come."""

    gone: range
    changed: List[int]
    new: range
    links: range

    def __bool__(self) -> bool:
        return bool(self.gone or self.changed or self.new or self.links)


class Image:
    """The layers of a made-up image."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        dealt = random.Random(f"{shape.seed}")
        self._first_deleted = int(dealt.random() * shape.directories)
        self._first_added = int(dealt.random() * shape.directories)

    def tar(self, layer: int) -> Iterator[bytes]:
        """A layer's tar, in pieces; the base is layer 0."""
        for entry, content in self.entries(layer):
            yield tarwriter.header(entry)
            if content:
                yield content
                yield tarwriter.padding(len(content))
        yield tarwriter.END

    def entries(self, layer: int) -> Iterator[Item]:
        """The entries of a layer's tar, each directory before what is in it."""
        chosen = random.Random(f"{self.shape.seed} {layer}")
        first_changed = int(chosen.random() * self.shape.directories)
        for top in range(0, self.shape.directories, _IN_GROUP):
            numbers = range(top, min(top + _IN_GROUP, self.shape.directories))
            contents = [self._content(layer, n, first_changed, chosen) for n in numbers]
            if layer and not any(contents):
                continue
            for number, content in zip(numbers, contents):
                if number == top or content or not layer:
                    yield _directory(_path(number), layer)
                    yield from self._in_directory(layer, number, content, chosen)

    def _content(
        self, layer: int, number: int, first_changed: int, chosen: random.Random
    ) -> _Content:
        shape = self.shape
        if not layer:
            links = range(_dealt(shape.symlinks, number, shape.directories))
            return _Content(range(0), [], range(self._born(0, number)), links)
        born = self._born(layer - 1, number)
        gone = range(self._gone(layer - 1, number), self._gone(layer, number))
        left = born - gone.stop
        wanted = _dealt(shape.part(shape.change), number, shape.directories, first=first_changed)
        start = int(chosen.random() * left)
        count = left if shape.change == 1 else min(wanted, left)
        changed = [gone.stop + (start + index) % left for index in range(count)]
        return _Content(gone, sorted(changed), range(born, self._born(layer, number)), range(0))

    def _born(self, layer: int, number: int) -> int:
        """How many files a directory has had, up to a layer."""
        shape = self.shape
        added = _dealt(
            layer * shape.part(shape.add), number, shape.directories, first=self._first_added
        )
        return _dealt(shape.files, number, shape.directories) + added

    def _gone(self, layer: int, number: int) -> int:
        """How many of these, the oldest ones, have been deleted up to a layer."""
        if not layer:
            return 0
        deleted = layer * self.shape.part(self.shape.delete)
        dealt = _dealt(deleted, number, self.shape.directories, first=self._first_deleted)
        return min(dealt, self._born(layer - 1, number))

    def _in_directory(
        self, layer: int, number: int, content: _Content, chosen: random.Random
    ) -> Iterator[Item]:
        path = _path(number)
        for index in content.gone:
            yield _file(path + b"/" + PREFIX + _name(index), layer, b"")
        for index in (*content.changed, *content.new):
            size = int(chosen.random() * (2 * self.shape.file_size + 1))
            line = b"seed %d layer %d %b %d\n" % (self.shape.seed, layer, path, index)
            data = (line * (size // len(line) + 1))[:size]
            yield _file(path + b"/" + _name(index), layer, data)
        for index in content.links:
            yield _symlink(path + b"/link-%d" % index, layer, _name(index))


def _dealt(total: int, place: int, places: int, *, first: int = 0) -> int:
    """How many of `total` things one place gets if they are dealt out in turn."""
    return (total - (place - first) % places + places - 1) // places


def _path(number: int) -> bytes:
    group, inner = divmod(number, _IN_GROUP)
    return b"group-%04d/directory-%02d" % (group, inner) if inner else b"group-%04d" % group


def _name(index: int) -> bytes:
    return b"file-%06d" % index


def _directory(path: bytes, layer: int) -> Item:
    return TarEntry(path + b"/", DIR, 0o755, mtime_ns=_time(layer)), b""


def _file(name: bytes, layer: int, data: bytes) -> Item:
    return TarEntry(name, FILE, 0o644, size=len(data), mtime_ns=_time(layer)), data


def _symlink(name: bytes, layer: int, target: bytes) -> Item:
    return TarEntry(name, SYMLINK, 0o777, mtime_ns=_time(layer), linkname=target), b""


def _time(layer: int) -> int:
    return (_TIME + layer) * _NS
