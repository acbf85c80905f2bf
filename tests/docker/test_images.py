"""Images go from Docker to ovl1 and back without losing a bit, in both layouts."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

from ovl1.driver.opening import open_driver
from ovl1.images.load import load, read_images
from ovl1.images.ocilayout import Platform
from ovl1.images.save import DOCKER, OCI, save
from ovl1.images.source import open_directory, open_tar
from ovl1.linux.loopback import loop_file_system
from ovl1.model import ChainId
from ovl1.store.imagedb import Image
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import HAND_MADE, REFUSED_BY_OVERLAY2, image_archive

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

AMD64 = Platform("linux", "amd64")
BUILT = f"""\
FROM {nasty.BASE}
RUN mkdir -p /d/sub && echo 1 > /d/f && echo 2 > /d/sub/g && ln -s d /link && ln /d/f /d/f2
RUN rm -rf /d/sub && echo 3 > /d/f && mkfifo /p && mknod /c c 1 5 && chmod 4755 /d/f2
RUN rm -r /d && mkdir /d && echo 4 > /d/h && touch -d '2001-02-03 04:05:06' /d/h
CMD ["cat", "/d/h"]
"""


class Original(NamedTuple):
    """What a real daemon made of images, and the archives that they came from or went to."""

    archives: List[Path]
    saved: Dict[str, str]
    """Image id to the SHA-256 of ``docker save``."""
    tags: Set[str]
    tar_splits: Dict[ChainId, bytes]
    built: str


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    with tempfile.TemporaryDirectory(prefix="d-") as name, loop_file_system(
        "ext4", Path(name)
    ) as disk:
        work = Path(name)
        with Daemon(disk / "docker", OVERLAY, work / "daemon") as daemon:
            daemon.docker("import", "-", nasty.BASE, stdin=nasty.base())
            archives = list(hand_made(daemon, work))
            built = daemon.build("nasty/built:1", BUILT)
            archives.append(work / "built.tar")
            daemon.docker("save", "-o", str(archives[-1]), nasty.BASE, "nasty/built:1")
            yield Original(archives, saved(daemon), tags(daemon), splits(disk / "docker"), built)


def hand_made(daemon: Daemon, work: Path) -> Iterator[Path]:
    for number, image in enumerate(HAND_MADE):
        if REFUSED_BY_OVERLAY2 in image.tags:
            continue
        path = work / f"{number}.tar"
        path.write_bytes(image_archive(image, nasty.base()))
        daemon.docker("load", "-i", str(path))
        yield path


def saved(daemon: Daemon) -> Dict[str, str]:
    found = {}
    for image in set(daemon.docker("images", "-q", "--no-trunc").split()):
        done = daemon.docker("save", image, check=False).encode(errors="surrogateescape")
        found[image] = hashlib.sha256(done).hexdigest()
    return found


def tags(daemon: Daemon) -> Set[str]:
    return set(daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").split("\n"))


def splits(data_root: Path) -> Dict[ChainId, bytes]:
    store = Store.of(Layout(data_root, OVERLAY))
    return {
        chain_id: gzip.decompress(record.tar_split.read_bytes())
        for chain_id, record in store.layers.items()
        if record.tar_split is not None
    }


def loaded(disk: Path, driver: str, archives: List[Path]) -> Layout:
    layout = Layout((disk / driver).resolve(), driver)
    create_store(layout)
    made = open_driver(layout.data_root, driver, sync=False)
    for path in archives:
        with path.open("rb") as file, open_tar(file, disk, max_bytes=1 << 30) as blobs:
            load(made, blobs, read_images(blobs, AMD64))
    return layout


@pytest.mark.parametrize("driver", [OVERLAY, OVERLAY2])
def test_what_docker_saved_is_dockers_again(
    original: Original, disk: Path, work: Path, driver: str
) -> None:
    layout = loaded(disk, driver, original.archives)
    store = Store.of(layout)
    assert store.problems == ()
    ours = {
        chain_id: gzip.decompress(record.tar_split.read_bytes())
        for chain_id, record in store.layers.items()
        if record.tar_split is not None
    }
    assert len(ours) > 20
    assert ours == {chain_id: original.tar_splits[chain_id] for chain_id in ours}
    with Daemon(layout.data_root, driver, work / "daemon") as daemon:
        assert tags(daemon) == original.tags
        assert saved(daemon) == original.saved
        assert daemon.docker("run", "--rm", "--network=none", "nasty/built:1") == "4"
        daemon.build("on-top:1", "FROM nasty/built:1\nRUN rm /d/h && echo 5 > /d/i\n")
        assert daemon.docker("run", "--rm", "--network=none", "on-top:1", "ls", "/d") == "i"
        daemon.docker("rmi", "on-top:1", "nasty/built:1")


@pytest.mark.parametrize("form", [DOCKER, OCI])
@pytest.mark.parametrize("driver", [OVERLAY, OVERLAY2])
def test_what_ovl1_saved_docker_loads(
    original: Original, disk: Path, work: Path, driver: str, form: str
) -> None:
    store = Store.of(loaded(disk, driver, original.archives[-1:]))
    path = work / "saved.tar"
    wanted = [(store.images[key], store.references.tags_of(key)) for key in sorted(store.images)]
    with path.open("wb") as out:
        assert save(store, wanted, out, form=form).unsaved == []
    if form == DOCKER:
        with Daemon(disk / "docker", OVERLAY2, work / "daemon") as daemon:
            daemon.docker("load", "-i", str(path))
            found = set(daemon.docker("images", "-q", "--no-trunc").split())
            assert found == set(store.images)
            assert original.built in found
    elsewhere = disk / "again"
    elsewhere.mkdir()
    again = Store.of(loaded(elsewhere, driver, [path]))
    assert again.images.keys() == store.images.keys()
    assert again.layers.keys() == store.layers.keys()
    assert again.references.tags == store.references.tags


def saved_by_ovl1(original: Original, disk: Path, work: Path, form: str) -> Tuple[Path, Image]:
    store = Store.of(loaded(disk, OVERLAY, original.archives[-1:]))
    image = store.image("nasty/built:1")
    path = work / f"{form}.tar"
    with path.open("wb") as out:
        assert save(store, [(image, ["nasty/built:1"])], out, form=form).unsaved == []
    return path, image


def said(*command: object) -> bytes:
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE).stdout


TRANSPORTS = {DOCKER: "docker-archive", OCI: "oci-archive"}


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("form", TRANSPORTS)
def test_skopeo_reads_what_ovl1_saved(
    original: Original, disk: Path, work: Path, form: str
) -> None:
    path, image = saved_by_ovl1(original, disk, work, form)
    source = f"{TRANSPORTS[form]}:{path}"
    manifest = json.loads(said("skopeo", "inspect", "--raw", source))
    assert manifest["config"]["digest"] == image.image_id
    # It reads every layer, and checks it, when it copies.
    said("skopeo", "copy", source, f"dir:{work / 'copied'}")
    digests = {path.name for path in (work / "copied").iterdir()}
    assert digests >= {diff_id.hex for diff_id in image.diff_ids}


@pytest.mark.needs("podman")
@pytest.mark.parametrize("form", TRANSPORTS)
def test_podman_loads_what_ovl1_saved(
    original: Original, disk: Path, work: Path, form: str
) -> None:
    path, image = saved_by_ovl1(original, disk, work, form)
    # It wants the path of its run-time directory to be short.
    with tempfile.TemporaryDirectory(prefix="p-", dir="/run") as runtime:
        places = ("--root", disk / "podman", "--runroot", runtime)
        podman = ("podman", *places, "--storage-driver", "vfs")
        said(*podman, "load", "-i", path)
        assert said(*podman, "images", "-q", "--no-trunc").decode().split() == [image.image_id]


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("driver", [OVERLAY, OVERLAY2])
def test_an_oci_image_keeps_its_digests(
    original: Original, disk: Path, work: Path, driver: str
) -> None:
    """Another tool's manifest, with annotations of its own; layers as they are in the store."""
    path, image = saved_by_ovl1(original, disk, work, OCI)
    layout = work / "layout"
    plain = "--dest-oci-accept-uncompressed-layers"
    said("skopeo", "copy", plain, f"oci-archive:{path}", f"oci:{layout}:some/name:1")
    (manifest,) = annotated(layout)
    place = Layout((disk / "other").resolve(), driver)
    create_store(place)
    with open_directory(layout) as blobs:
        load(open_driver(place.data_root, driver, sync=False), blobs, read_images(blobs, AMD64))
    store = Store.of(place)
    again = work / "again.tar"
    with again.open("wb") as out:
        save(store, [(store.images[image.image_id], ["some/name:1"])], out, form=OCI)
    with tarfile.open(again) as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        (listed,) = json.load(index)["manifests"]
        assert listed["digest"] == manifest
        kept = tar.extractfile(f"blobs/sha256/{manifest[7:]}")
        assert kept is not None
        assert json.load(kept)["config"]["digest"] == image.image_id


def annotated(layout: Path) -> List[str]:
    """Change the manifests of a layout as other tools do; their new digests."""
    index = json.loads((layout / "index.json").read_bytes())
    for listed in index["manifests"]:
        blobs = layout / "blobs" / "sha256"
        manifest = json.loads((blobs / listed["digest"][7:]).read_bytes())
        manifest["annotations"] = {"org.example.made-by": "another tool"}
        content = json.dumps(manifest, indent=3).encode()
        listed["digest"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
        listed["size"] = len(content)
        (blobs / listed["digest"][7:]).write_bytes(content)
    (layout / "index.json").write_text(json.dumps(index))
    return [listed["digest"] for listed in index["manifests"]]
