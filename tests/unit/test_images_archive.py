"""Reading archives of images: each form gives the same values, and each damage is named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from ovl1.errors import ArchiveError, WrongUsage
from ovl1.images.archive import ArchivedImage
from ovl1.images.blobs import Blobs, DirectoryBlobs, TarBlobs
from ovl1.images.dockerarchive import read_manifest, read_repositories
from ovl1.images.ocilayout import Platform, read_layout
from tests.support import archives
from tests.support.archives import Files, Layout
from tests.support.layers import entry, make_tar

AMD64 = Platform("linux", "amd64")
LAYERS = archives.small_layers()


@contextlib.contextmanager
def tar_of(files: Files, tmp_path: Path) -> Iterator[Blobs]:
    path = tmp_path / "archive.tar"
    path.write_bytes(archives.packed(files))
    with path.open("rb") as file, TarBlobs(file) as blobs:
        yield blobs


@contextlib.contextmanager
def directory_of(files: Files, tmp_path: Path) -> Iterator[Blobs]:
    root = tmp_path / "layout"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with DirectoryBlobs(root) as blobs:
        yield blobs


FORMS = pytest.mark.parametrize("made", [tar_of, directory_of])


def contents(blobs: Blobs, image: ArchivedImage) -> List[bytes]:
    found = []
    for layer in image.layers:
        with blobs.open(layer.blob) as file:
            found.append(file.read())
    return found


@FORMS
def test_what_docker_save_writes(made: Any, tmp_path: Path) -> None:
    with made(archives.docker_archive(LAYERS, ("app:1", "app:2")), tmp_path) as blobs:
        (image,) = read_manifest(blobs)
        assert image.config == archives.config_of(LAYERS)
        assert image.names == ("app:1", "app:2")
        assert [layer.diff_id for layer in image.layers] == list(map(archives.digest, LAYERS))
        assert contents(blobs, image) == list(LAYERS)


def test_a_layer_that_is_a_link_to_another(tmp_path: Path) -> None:
    files = archives.docker_archive((LAYERS[0], LAYERS[0]))
    links = (
        (tarfile.SYMTYPE, "../0/layer.tar"),
        (tarfile.LNKTYPE, "0/layer.tar"),
    )
    for kind, target in links:
        members = [entry(name, data=data) for name, data in files.items() if name[0] != "1"]
        members.insert(1, entry("1/layer.tar", kind, linkname=target))
        path = tmp_path / "linked.tar"
        path.write_bytes(make_tar(members).read())
        with path.open("rb") as file, TarBlobs(file) as blobs:
            assert contents(blobs, read_manifest(blobs)[0]) == [LAYERS[0], LAYERS[0]]


@FORMS
def test_what_docker_save_wrote_before_1_10(made: Any, tmp_path: Path) -> None:
    with made(archives.old_archive(LAYERS), tmp_path) as blobs:
        (image,) = read_repositories(blobs, 1 << 20)
        config = json.loads(image.config)
        assert image.names == ("old:1",)
        assert contents(blobs, image) == list(LAYERS)
    assert config["rootfs"]["diff_ids"] == list(map(archives.digest, LAYERS))
    assert [step["created_by"] for step in config["history"]] == [
        "/bin/sh -c step 0",
        "/bin/sh -c step 1",
    ]
    assert not {"id", "parent", "Size"} & set(config)


@FORMS
def test_an_oci_layout(made: Any, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image(LAYERS, pack="gzip", **archives.called("docker.io/library/app:1"))
    with made(layout.finished(image), tmp_path) as blobs:
        (found,) = read_layout(blobs, AMD64)
        assert found.names == ("docker.io/library/app:1",)
        assert [layer.diff_id for layer in found.layers] == list(map(archives.digest, LAYERS))
        for layer, content in zip(found.layers, contents(blobs, found)):
            assert layer.digest == "sha256:" + hashlib.sha256(content).hexdigest()


def test_the_platform_chooses_among_images(tmp_path: Path) -> None:
    layout = Layout()
    arm = layout.image(LAYERS[:1], **archives.platform("linux/arm/v7"))
    amd = layout.image(LAYERS, **archives.platform("linux/amd64"))
    attested = layout.image(
        (), **archives.platform("unknown/unknown"), annotations={"vnd.docker.reference.type": "a"}
    )
    files = layout.finished({**layout.index([arm, amd, attested]), **archives.called("app:1")})
    with tar_of(files, tmp_path) as blobs:
        (found,) = read_layout(blobs, AMD64)
        assert (len(found.layers), found.names) == (2, ("app:1",))
        (found,) = read_layout(blobs, Platform.parse("linux/arm"))
        assert len(found.layers) == 1
        with pytest.raises(ArchiveError, match="no image for linux/s390x") as caught:
            read_layout(blobs, Platform.parse("linux/s390x"))
        assert caught.value.details == "It has: linux/amd64, linux/arm/v7"


@pytest.mark.parametrize("text", ["amd64", "linux/", "linux/arm/v7/more"])
def test_a_platform_has_two_or_three_parts(text: str) -> None:
    with pytest.raises(WrongUsage):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("annotation", "names"),
    [
        (archives.called("app:1", "org.opencontainers.image.ref.name"), ("app:1",)),
        (archives.called("latest", "org.opencontainers.image.ref.name"), ()),
        ({}, ()),
    ],
)
def test_a_mere_tag_is_no_name(annotation: Any, names: Any, tmp_path: Path) -> None:
    layout = Layout()
    with tar_of(layout.finished(layout.image(LAYERS, **annotation)), tmp_path) as blobs:
        assert read_layout(blobs, AMD64)[0].names == names


def without(name: str) -> Callable[[Files], None]:
    return lambda files: files.__delitem__(name)


def manifest(**changes: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        (listed,) = json.loads(files["manifest.json"])
        files["manifest.json"] = json.dumps([{**listed, **changes}]).encode()

    return change


DAMAGES: Dict[str, Any] = {
    "no manifest": (without("manifest.json"), "has no 'manifest.json'"),
    "no config": (without("config.json"), "has no 'config.json'"),
    "no layer": (without("1/layer.tar"), "has no '1/layer.tar'"),
    "one layer too few": (manifest(Layers=["0/layer.tar"]), "2 layers .* and 1 by"),
    "layers are no list": (manifest(Layers="0/layer.tar"), "no readable list"),
    "an absolute name": (manifest(Config="/etc/passwd"), "leads out"),
    "a name with dots": (manifest(Layers=["0/layer.tar", "../layer.tar"]), "leads out"),
    "no name at all": (manifest(Config=None), "not the name of a file"),
}


@FORMS
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_a_docker_archive_is_named(made: Any, damage: str, tmp_path: Path) -> None:
    change, message = DAMAGES[damage]
    files = archives.docker_archive(LAYERS)
    change(files)
    with made(files, tmp_path) as blobs, pytest.raises(ArchiveError, match=message):
        read_manifest(blobs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not readable"),
        (b"[" * 100_000, "not readable"),
        (b"{}", "not a list of images"),
        (b"[1]", "not a list of images"),
        (b" " * (17 << 20), "too big"),
    ],
)
def test_a_manifest_that_is_none(content: bytes, message: str, tmp_path: Path) -> None:
    with tar_of({"manifest.json": content}, tmp_path) as blobs, pytest.raises(
        ArchiveError, match=message
    ):
        read_manifest(blobs)


def test_too_many_layers(tmp_path: Path) -> None:
    files = archives.docker_archive(LAYERS[:1] * 126)
    with tar_of(files, tmp_path) as blobs, pytest.raises(ArchiveError, match="126 layers"):
        read_manifest(blobs)


def test_layers_that_are_their_own_parents(tmp_path: Path) -> None:
    files = {"a/json": b'{"parent":"a"}', "repositories": b'{"app":{"1":"a"}}'}
    with tar_of(files, tmp_path) as blobs, pytest.raises(ArchiveError, match="its own parent"):
        read_repositories(blobs, 1 << 20)


@pytest.mark.parametrize("which", ["config", "manifest"])
def test_a_document_that_is_not_what_its_name_says(which: str, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image(LAYERS)
    wanted = image["digest"] if which == "manifest" else archives.digest(archives.config_of(LAYERS))
    files = layout.finished(image)
    files["blobs/sha256/" + wanted[len("sha256:") :]] += b" "
    with tar_of(files, tmp_path) as blobs, pytest.raises(ArchiveError, match="hash to its name"):
        read_layout(blobs, AMD64)


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha512:00", None, 5])
def test_a_digest_that_is_none(digest: Any, tmp_path: Path) -> None:
    layout = Layout()
    files = layout.finished({**layout.image(LAYERS), "digest": digest})
    with tar_of(files, tmp_path) as blobs, pytest.raises(ArchiveError, match="not a sha256"):
        read_layout(blobs, AMD64)


def test_an_archive_cut_anywhere(tmp_path: Path) -> None:
    whole = archives.packed(archives.docker_archive(LAYERS))
    path = tmp_path / "cut.tar"
    cuts = range(0, len(whole.rstrip(b"\0")), 512)
    assert len(cuts) > 10
    for length in cuts:
        path.write_bytes(whole[:length])
        with path.open("rb") as file, pytest.raises(ArchiveError):
            read_manifest(TarBlobs(file))


def test_something_else_than_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"no archive at all" * 100)
    with path.open("rb") as file, pytest.raises(ArchiveError, match="no archive of images"):
        TarBlobs(file)


def test_links_do_not_lead_out_of_a_layout(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "layout"
    root.mkdir()
    (root / "index.json").symlink_to("../secret")
    (root / "fifo").symlink_to("pipe")
    os.mkfifo(root / "pipe")
    with DirectoryBlobs(root) as blobs:
        for name in ("index.json", "fifo", "pipe", "../secret"):
            assert not blobs.exists(name)
            with pytest.raises(ArchiveError):
                blobs.document(name)


def test_links_in_a_tar_may_not_turn_in_circles(tmp_path: Path) -> None:
    path = tmp_path / "circle.tar"
    members = [
        entry(name, tarfile.SYMTYPE, linkname=other) for name, other in (("a", "b"), ("b", "a"))
    ]
    path.write_bytes(make_tar(members).read())
    with path.open("rb") as file, pytest.raises(ArchiveError, match="leads nowhere"):
        TarBlobs(file).open("a")
