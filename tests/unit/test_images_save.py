"""Saving images: what was saved is what was there, and what is damaged is named and left out."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any, List

import pytest

from ovl1.driver.overlay1 import Overlay1Driver
from ovl1.errors import HalfDone
from ovl1.images import build, save
from ovl1.images.archive import ArchivedImage
from ovl1.images.blobs import TarBlobs
from ovl1.images.dockerarchive import read_manifest
from ovl1.images.ocilayout import Platform, read_layout
from ovl1.images.save import Saved
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store
from tests.support.layers import entry, make_tar

AMD64 = Platform("linux", "amd64")
OWNER = {"uid": os.getuid(), "gid": os.getgid()}
TARS = {
    name: make_tar([entry(name, b"0", data=name.encode() * 3000, **OWNER)]).read()
    for name in ("base", "left", "right")
}


class Pipe(io.RawIOBase):
    """Takes what is written, and cannot go back."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self.taken += bytes(data)
        return len(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two images on one base."""
    layout = Layout(tmp_path.resolve() / "docker", OVERLAY)
    create_store(layout)
    driver = Overlay1Driver(layout, runtime=tmp_path / "run")
    for name in ("left", "right"):
        tars = [io.BytesIO(TARS["base"]), io.BytesIO(TARS[name])]
        config = {"architecture": "amd64", "os": "linux"}
        build.build_image(driver, tars, f"{name}:1", config)
    return Store.of(layout)


def saved(store: Store, path: Path, *names: str, form: str = save.DOCKER) -> Saved:
    wanted = [(store.image(name), [name]) for name in names]
    with path.open("wb") as out:
        return save.save(store, wanted, out, form=form)


def layers_in(path: Path, form: str = save.DOCKER) -> List[List[bytes]]:
    """The layers of each image of an archive; their names and ids are checked on the way."""
    with path.open("rb") as file, TarBlobs(file) as blobs:
        images = read_manifest(blobs) if form == save.DOCKER else read_layout(blobs, AMD64)
        return [_contents(blobs, image) for image in images]


def _contents(blobs: TarBlobs, image: ArchivedImage) -> List[bytes]:
    found = []
    for layer in image.layers:
        with blobs.open(layer.blob) as file:
            found.append(file.read())
    return found


@pytest.mark.parametrize("form", [save.DOCKER, save.OCI])
def test_layers_are_saved_as_they_were_and_once(store: Store, tmp_path: Path, form: str) -> None:
    path = tmp_path / "archive.tar"
    result = saved(store, path, "left:1", "right:1", form=form)
    base, left, right = TARS.values()
    assert layers_in(path, form) == [[base, left], [base, right]]
    assert (len(result.images), result.layers, result.unsaved) == (2, 3, [])
    assert result.size == path.stat().st_size < 2 * sum(map(len, TARS.values()))


def test_an_archive_in_dockers_form_is_an_oci_layout_too(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    saved(store, path, "left:1")
    with path.open("rb") as file, TarBlobs(file) as blobs:
        (docker,) = read_manifest(blobs)
        (oci,) = read_layout(blobs, AMD64)
    assert docker.config == oci.config
    assert docker.names == ("left:1",)
    assert oci.names == ("docker.io/library/left:1",)


def test_the_same_images_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    saved(store, one, "left:1", "right:1")
    saved(store, other, "left:1", "right:1")
    assert one.read_bytes() == other.read_bytes()


def test_a_pipe_gets_the_same_bytes(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    saved(store, path, "left:1")
    pipe = Pipe()
    save.save(store, [(store.image("left:1"), ["left:1"])], pipe)  # type: ignore[arg-type]
    assert pipe.taken == path.read_bytes()


def damaged(store: Store, name: str, file: str) -> Path:
    top = store.chain(store.image(name))[0]
    path = store.layout.root(top.cache_id) / file
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"!")
    return path


@pytest.mark.parametrize("seekable", [True, False])
def test_a_damaged_layer_leaves_out_its_image_only(
    store: Store, tmp_path: Path, seekable: bool
) -> None:
    damaged(store, "left:1", "left")
    path = tmp_path / "archive.tar"
    if seekable:
        result = saved(store, path, "left:1", "right:1")
    else:
        pipe = Pipe()
        wanted = [(store.image(name), [name]) for name in ("left:1", "right:1")]
        result = save.save(store, wanted, pipe)  # type: ignore[arg-type]
        path.write_bytes(pipe.taken)
    (left_out,) = result.unsaved
    assert left_out.image_id == store.image("left:1").image_id
    assert "left" in str(left_out.reason)
    assert layers_in(path) == [[TARS["base"], TARS["right"]]]
    clean = tmp_path / "clean.tar"
    saved(store, clean, "right:1")
    assert path.read_bytes() == clean.read_bytes()


@pytest.mark.parametrize("what", ["tree", "tar-split"])
def test_a_missing_part_is_named(store: Store, tmp_path: Path, what: str) -> None:
    top = store.chain(store.image("left:1"))[0]
    if what == "tree":
        shutil.rmtree(store.layout.root(top.cache_id))
    else:
        store.layout.tar_split(top.chain_id).unlink()
    again = Store.of(store.layout)
    result = saved(again, tmp_path / "archive.tar", "left:1", "right:1")
    (left_out,) = result.unsaved
    assert str(store.layout.data_root) in str(left_out.reason)
    assert len(result.images) == 1


def test_a_layer_that_changes_after_its_proof_ends_it(store: Store) -> None:
    damaged(store, "left:1", "left")
    archive = save._Archive(store, Pipe())  # type: ignore[arg-type]
    with pytest.raises(HalfDone, match="changed while"):
        archive._write_layer(store.chain(store.image("left:1"))[0])
