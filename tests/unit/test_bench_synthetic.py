"""Images made up: the same bytes for the same numbers, and what the numbers say."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import tracemalloc
from dataclasses import replace
from typing import Dict, List, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.bench.archive import write_archive
from ovl1.bench.synthetic import Image, Shape
from ovl1.errors import WrongUsage
from ovl1.images.blobs import TarBlobs
from ovl1.images.load import read_images
from ovl1.images.ocilayout import Platform

SMALL = Shape(layers=3, files=40, directories=20, symlinks=7, change=0.2, add=0.1, delete=0.05)
SHAPES = st.builds(
    Shape,
    layers=st.integers(1, 6),
    files=st.integers(0, 60),
    directories=st.integers(1, 40),
    symlinks=st.integers(0, 30),
    change=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    add=st.sampled_from([0.0, 0.05, 1.0]),
    delete=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    file_size=st.sampled_from([0, 10]),
    seed=st.integers(0, 3),
)


def archive(shape: Shape) -> bytes:
    file = io.BytesIO()
    write_archive(Image(shape), file)
    return file.getvalue()


def members(shape: Shape, layer: int) -> List[tarfile.TarInfo]:
    tar = b"".join(Image(shape).tar(layer))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return opened.getmembers()


def test_the_same_image_everywhere_and_always() -> None:
    """Whoever changes this makes published figures irreproducible."""
    found = hashlib.sha256(archive(SMALL)).hexdigest()
    assert found == "23ebf475cf7d3c4b976af08807f5aa90cd9c725ec2297a64bbf81fe359ad5047"
    assert found == hashlib.sha256(archive(replace(SMALL))).hexdigest()


def test_another_seed_is_another_image() -> None:
    assert archive(SMALL) != archive(replace(SMALL, seed=1))


def test_the_base_holds_what_is_asked_for() -> None:
    shape = Shape(layers=1, files=1003, directories=97, symlinks=55, file_size=500)
    found = members(shape, 0)
    assert sum(member.isdir() for member in found) == 97
    assert sum(member.isreg() for member in found) == 1003
    assert sum(member.issym() for member in found) == 55
    average = sum(member.size for member in found) / 1003
    assert 400 < average < 600


def test_a_layer_changes_what_is_asked_for() -> None:
    shape = Shape(files=1000, directories=50, change=0.1, add=0.03, delete=0.02)
    base = {member.name for member in members(shape, 0)}
    found = [member.name for member in members(shape, 1) if member.isreg()]
    gone = [name for name in found if "/.wh." in name]
    assert len(gone) == 20
    assert len(base.intersection(found)) == 100
    assert len(found) == 100 + 20 + 30
    assert len({name.rpartition("/")[0] for name in found}) == 50


@given(SHAPES)
def test_layers_fit_on_each_other(shape: Shape) -> None:
    """No name twice, directories first, and nothing changed or deleted that is not there."""
    files: Set[str] = set()
    gone = 0
    for layer in range(shape.layers):
        added = 0
        directories = {""}
        names = [member.name for member in members(shape, layer)]
        assert len(names) == len(set(names))
        for member in members(shape, layer):
            above, _, last = member.name.rpartition("/")
            assert above in directories
            if member.isdir():
                directories.add(member.name)
            elif last.startswith(".wh."):
                files.remove(f"{above}/{last[4:]}")
                gone += 1
            elif member.isreg():
                added += member.name not in files
                files.add(member.name)
        assert added == (shape.part(shape.add) if layer else shape.files)
        # A directory that had nothing left catches up.
        assert gone <= shape.part(shape.delete) * layer


def test_all_files_can_change_in_each_layer() -> None:
    shape = replace(SMALL, change=1.0, add=0.0, delete=0.0)
    base = {member.name for member in members(shape, 0) if member.isreg()}
    assert {member.name for member in members(shape, 2) if member.isreg()} == base


def test_it_is_an_archive_of_an_image() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(archive(SMALL))
        file.seek(0)
        with TarBlobs(file) as blobs:
            (image,) = read_images(blobs, Platform("linux", "amd64"))
            assert len(image.layers) == 3
            for layer in image.layers:
                with blobs.open(layer.blob) as tar:
                    assert hashlib.sha256(tar.read()).hexdigest() == layer.diff_id.hex


def test_memory_does_not_grow_with_the_image() -> None:
    class Nowhere(io.RawIOBase):
        at = 0

        def write(self, data: object) -> int:
            assert isinstance(data, bytes)
            self.at += len(data)
            return len(data)

        def tell(self) -> int:
            return self.at

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

    def peak(files: int) -> int:
        shape = Shape(layers=2, files=files, directories=files // 10, symlinks=0, file_size=0)
        tracemalloc.start()
        try:
            write_archive(Image(shape), Nowhere())  # type: ignore[arg-type]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(10_000) < peak(1000) + (64 << 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": 0},
        {"layers": 126},
        {"directories": 0},
        {"files": -1},
        {"change": 1.1},
        {"delete": -0.1},
    ],
)
def test_what_cannot_be(wrong: Dict[str, int]) -> None:
    with pytest.raises(WrongUsage):
        Shape(**wrong)
