"""A v1 store of many layers, made fast: every layer links what the one below it has.

The trees are as Docker leaves them: directories and symbolic links are made anew in each layer,
files are linked, and a few are replaced. Records, tar-splits and images are real; `ovl1 image
verify` proves them. Files are empty: what is counted is inodes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, List, Optional, Tuple

from ovl1.formats import tarsplit
from ovl1.linux.loopback import GIB, loop_file_system
from ovl1.linux.workers import in_parallel, processors
from ovl1.model import ChainId, DiffId, ImageId, LayerId
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.writer import create_store, register_layer, write_image

_IMAGE_EVERY = 10
_TIME = 1_500_000_000
_BYTES_PER_INODE = 6000


@dataclass(frozen=True)
class Shape:
    """What a store is to hold."""

    layers: int = 100
    files: int = 100_000
    """Names in each layer that are no directories."""
    per_directory: int = 10
    """Of these; a Debian base has 8.5."""
    links_every: int = 20
    """One name in so many is a symbolic link; 0 for none."""
    changed_every: int = 1000
    """One file in so many is replaced by each layer; 0 for none."""

    @property
    def directories(self) -> int:
        """Directories in each layer that hold files."""
        return -(-self.files // self.per_directory)

    @property
    def names(self) -> int:
        """Names in all layers that are no directories."""
        return self.layers * self.files

    @property
    def inodes(self) -> int:
        """More inodes than the store takes."""
        per_layer = self.directories * 10 // 8 + 100
        per_layer += self.files // (self.links_every or self.files)
        per_layer += self.files // (self.changed_every or self.files)
        return self.layers * per_layer + self.files + 10_000

    def path(self, number: int) -> str:
        """Where a directory lies in a layer."""
        return f"usr/part-{number % 8}/group-{number // 8 % 100}/package-{number}"

    def entries(self, number: int) -> Iterator[Tuple[str, bool, int]]:
        """The names in a directory, whether each is a symbolic link, and its number."""
        first = number * self.per_directory
        for index in range(first, min(first + self.per_directory, self.files)):
            is_link = bool(self.links_every) and index % self.links_every == 1
            yield f"some-file-{index}.{'so' if is_link else 'py'}", is_link, index

    def changes(self, layer: int, index: int) -> bool:
        """Whether a layer replaces a file."""
        if layer == 0:
            return True
        return bool(self.changed_every) and (index + layer) % self.changed_every == 0


@contextlib.contextmanager
def store_on_loop(directory: Path, shape: Shape) -> Iterator[Path]:
    """A store on a file system of its own, in a sparse file in `directory`; gone at the end."""
    size = 2 * GIB + shape.inodes * _BYTES_PER_INODE
    with loop_file_system("ext4", directory, size, inodes=shape.inodes) as disk:
        data_root = disk.resolve() / "docker"
        make_store(data_root, shape)
        yield data_root


def make_store(data_root: Path, shape: Shape) -> None:
    """Make the store; all of it is on the disk at the end.

    Args:
        data_root: must not be there yet, and is not if this fails; the file system must have
            `shape.inodes` left.
    """
    data_root.mkdir(parents=True)
    try:
        _make(Layout(data_root.resolve(), OVERLAY), shape)
    except BaseException:
        shutil.rmtree(data_root)
        raise


def _make(layout: Layout, shape: Shape) -> None:
    create_store(layout)
    layers = [LayerId(hashlib.sha256(b"layer %d" % n).hexdigest()) for n in range(shape.layers)]
    for layer in layers:
        layout.root(layer).mkdir(parents=True, mode=0o755)
    number = processors()
    list(in_parallel(lambda part: _fill(layout, layers, shape, part, number), range(number)))
    _register(layout, layers, shape)
    os.sync()


def _fill(layout: Layout, layers: List[LayerId], shape: Shape, part: int, parts: int) -> None:
    """Make the directories of one part, in all layers."""
    below: Optional[Path] = None
    for layer, layer_id in enumerate(layers):
        root = layout.root(layer_id)
        for number in range(part, shape.directories, parts):
            _fill_directory(root, below, shape, layer, number)
        below = root


def _fill_directory(
    root: Path, below: Optional[Path], shape: Shape, layer: int, number: int
) -> None:
    path = shape.path(number)
    os.makedirs(root / path, exist_ok=True)
    here = os.open(root / path, os.O_RDONLY)
    there = os.open(below / path, os.O_RDONLY) if below else -1
    try:
        for name, is_link, index in shape.entries(number):
            if is_link:
                os.symlink("target", name, dir_fd=here)
            elif shape.changes(layer, index):
                os.mknod(name, dir_fd=here)
            else:
                os.link(name, name, src_dir_fd=there, dst_dir_fd=here)
    finally:
        os.close(here)
        if below:
            os.close(there)


def _register(layout: Layout, layers: List[LayerId], shape: Shape) -> None:
    chain_id: Optional[ChainId] = None
    diff_ids: List[DiffId] = []
    names = {}
    for layer, layer_id in enumerate(layers):
        split, digest = io.BytesIO(), hashlib.sha256()
        with _tar(shape, layer) as tar:
            for chunk in tarsplit.split(tar, split):
                digest.update(chunk)
        diff_ids.append(DiffId("sha256:" + digest.hexdigest()))
        place = layout.staging / "tar-split"
        place.write_bytes(split.getvalue())
        chain_id = register_layer(
            layout,
            parent=chain_id,
            diff_id=diff_ids[-1],
            cache_id=layer_id,
            size=0,
            tar_split=place,
        )
        if layer % _IMAGE_EVERY == _IMAGE_EVERY - 1 or layer == len(layers) - 1:
            names[f"big:{layer + 1}"] = _image(layout, diff_ids)
    layout.repositories.write_text(json.dumps({"Repositories": {"big": names}}))


def _image(layout: Layout, diff_ids: List[DiffId]) -> ImageId:
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = {"architecture": "amd64", "os": "linux", "rootfs": rootfs, "history": []}
    return write_image(layout, json.dumps(config).encode())


@contextlib.contextmanager
def _tar(shape: Shape, layer: int) -> Iterator[BinaryIO]:
    """What the layer changes."""
    with tempfile.TemporaryFile() as out:
        _write_tar(shape, layer, out)
        out.seek(0)
        yield out


def _write_tar(shape: Shape, layer: int, out: BinaryIO) -> None:
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(shape.directories):
            for name, is_link, index in shape.entries(number):
                if layer and (is_link or not shape.changes(layer, index)):
                    continue
                member = tarfile.TarInfo(f"{shape.path(number)}/{name}")
                member.mtime = _TIME
                if is_link:
                    member.type, member.linkname = tarfile.SYMTYPE, "target"
                tar.addfile(member)
            tar.getmembers().clear()  # It would keep a million of them.
