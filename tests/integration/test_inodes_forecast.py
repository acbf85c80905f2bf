"""The forecast against the file system: to the inode what loading then takes."""

from __future__ import annotations

import bz2
import gzip
import importlib
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.writer import create_store
from tests.docker.nasty_layers import HAND_MADE, Entry, directory, image_archive, layer_tar
from tests.support import archives
from tests.support.archives import Files, called, packed
from tests.support.image_cli import Ovl1
from tests.support.layers import entry, make_tar
from tests.support.pairs import PAIRS, need
from tests.support.used import used, used_in_the_end

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs")

DRIVERS = (OVERLAY, OVERLAY2)
BASE = layer_tar((directory("."), directory("./etc"), Entry("./etc/passwd", content=b"root")))
# xfs has no room for such a minor number.
IMAGES = [
    image._replace(
        layers=tuple(
            tuple(entry for entry in layer if entry.name != "big-minor") for layer in image.layers
        )
    )
    for image in HAND_MADE
]


def made(disk: Path, driver: str) -> Ovl1:
    """An empty store; locks and the like are elsewhere."""
    ovl1 = Ovl1(disk.resolve() / driver, driver, disk.parent / "run")
    create_store(ovl1.layout)
    return ovl1


@pytest.fixture(params=PAIRS, ids="-".join)
def ovl1(request: pytest.FixtureRequest, full: bool, tmp_path: Path) -> Iterator[Ovl1]:
    kind, driver = request.param
    need(kind, driver, full=full)
    with loop_file_system(kind, tmp_path, 512 << 20) as disk:
        yield made(disk, driver)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path, 512 << 20) as mount_point:
        yield mount_point


def added(told: Any, layout: str) -> int:
    figures = told["layouts"][layout]
    assert figures["refused"] == ""
    inodes = figures["inodes"]
    assert isinstance(inodes, int)
    return inodes


def loading_takes(ovl1: Ovl1, expected: int, paths: Sequence[Path]) -> None:
    before = used(ovl1.data_root)
    for path in paths:
        ovl1("image", "load", str(path))
    assert used_in_the_end(ovl1.data_root, before + expected) - before == expected


def check(ovl1: Ovl1, *paths: Path) -> Any:
    """Loading takes what the forecast says."""
    told = ovl1.json("inodes", "forecast", *map(str, paths))
    loading_takes(ovl1, added(told, ovl1.driver), paths)
    return told


def written(tmp_path: Path, number: object, content: bytes) -> Path:
    path = tmp_path / f"{number}.tar"
    path.write_bytes(content)
    return path


def nasty(tmp_path: Path) -> List[Path]:
    return [written(tmp_path, n, image_archive(i, BASE)) for n, i in enumerate(IMAGES)]


def test_layers_that_no_build_makes(ovl1: Ovl1, tmp_path: Path) -> None:
    """One image after the other, each by the store that is then there."""
    for number, path in enumerate(nasty(tmp_path)):
        assert bool(check(ovl1, path)["known_layers"]) == bool(number)


def test_several_archives_share_layers(ovl1: Ovl1, tmp_path: Path) -> None:
    paths = nasty(tmp_path)
    told = check(ovl1, *paths)
    assert told["new_images"] == len(IMAGES) < told["known_layers"]
    again = ovl1.json("inodes", "forecast", *map(str, paths))
    assert {figures["inodes"] for figures in again["layouts"].values()} == {0}


def zstd(content: bytes) -> bytes:
    compressed = importlib.import_module("zstandard").ZstdCompressor().compress(content)
    assert isinstance(compressed, bytes)
    return compressed


def layers(name: str) -> List[bytes]:
    """Some that no other name has."""
    first = [
        entry("etc/", tarfile.DIRTYPE),
        entry(f"etc/{name}", data=b"x"),
        entry("etc/again", tarfile.LNKTYPE, linkname=f"etc/{name}"),
        entry("gone/", tarfile.DIRTYPE),
        entry("gone/file", data=b"gone"),
        entry("link", tarfile.SYMTYPE, linkname="etc"),
    ]
    second = [entry(".wh.gone"), entry("implied/new", data=b"new"), entry("link/over", data=b"l")]
    return [make_tar(entries).read() for entries in (first, second)]


def packed_layers(name: str, pack: Callable[[bytes], bytes]) -> bytes:
    """Each layer is compressed, the archive is not."""
    plain = layers(name)
    files = archives.docker_archive(plain, (f"{name}:1",), archives.config_of(plain))
    return packed(
        {key: pack(data) if key.endswith("layer.tar") else data for key, data in files.items()}
    )


def oci(name: str, pack: str = "") -> Files:
    layout = archives.Layout()
    return layout.finished(layout.image(layers(name), pack=pack, **called(f"{name}:1")))


def docker(name: str) -> bytes:
    return packed(archives.docker_archive(layers(name), (f"{name}:1",)))


FORMS: Dict[str, Callable[[str], bytes]] = {
    "docker": docker,
    "old": lambda name: packed(archives.old_archive(layers(name), name)),
    "gzip": lambda name: gzip.compress(docker(name)),
    "bzip2": lambda name: bz2.compress(docker(name)),
    "zstd": lambda name: zstd(docker(name)),
    "gzip-layers": lambda name: packed_layers(name, gzip.compress),
    "zstd-layers": lambda name: packed_layers(name, zstd),
    "oci": lambda name: packed(oci(name)),
    "oci-gzip-layers": lambda name: packed(oci(name, "gzip")),
}


def test_every_form_of_archives(ovl1: Ovl1, tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    paths = [written(tmp_path, name, make(name)) for name, make in FORMS.items()]
    before = ovl1.manifest()
    told = ovl1.json("inodes", "forecast", *map(str, paths))
    assert ovl1.manifest() == before
    assert (told["new_images"], told["known_layers"]) == (len(FORMS), 0)
    loading_takes(ovl1, added(told, ovl1.driver), paths)


def test_a_directory_and_standard_input(disk: Path, tmp_path: Path) -> None:
    ovl1 = made(disk, OVERLAY)
    for name, content in oci("directory").items():
        path = tmp_path / "oci" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    check(ovl1, tmp_path / "oci")
    for form in ("docker", "gzip"):
        path = written(tmp_path, form, FORMS[form](form))
        told = ovl1.json("inodes", "forecast", "-", stdin=path)
        loading_takes(ovl1, added(told, OVERLAY), [path])


def test_each_store_foretells_the_other_layout(disk: Path, tmp_path: Path) -> None:
    """Also above layers that lie otherwise there: here over a link, there in its place."""
    stores = [made(disk, driver) for driver in DRIVERS]
    base = layers("some")
    above = [entry("name", tarfile.LNKTYPE, linkname="link/over"), entry(".wh.implied")]
    images = [base, [*base, make_tar(above).read()]]
    paths = [
        written(tmp_path, f"app{number}", packed(archives.docker_archive(each, (f"app:{number}",))))
        for number, each in enumerate(images)
    ]
    for path in [*paths, *nasty(tmp_path)[:4]]:
        told = [each.json("inodes", "forecast", str(path)) for each in stores]
        for layout in DRIVERS:
            assert added(told[0], layout) == added(told[1], layout)
        for each in stores:
            loading_takes(each, added(told[0], each.driver), [path])


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_store_that_is_not_there_yet(driver: str, disk: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "app", docker("app"))
    ovl1 = Ovl1(disk.resolve() / driver, driver, tmp_path / "run")
    ovl1.data_root.mkdir()
    told = ovl1.json("inodes", "forecast", str(path))
    assert told["store"] > 0
    loading_takes(ovl1, added(told, driver) + told["store"], [path])


def test_only_the_layouts_that_are_asked_for(disk: Path, tmp_path: Path) -> None:
    ovl1 = made(disk, OVERLAY)
    path = str(written(tmp_path, "app", docker("app")))
    whole = ovl1.json("inodes", "forecast", path)
    one = ovl1.json("inodes", "forecast", "--layout", "vfs", path)
    assert one["layouts"] == {"vfs": whole["layouts"]["vfs"]}
    ovl1("image", "load", path)
    assert added(ovl1.json("inodes", "forecast", path), OVERLAY) == 0
    assert ovl1.json("inodes", "forecast", "--empty", path)["layouts"] == whole["layouts"]


def test_what_a_layout_refuses(disk: Path, tmp_path: Path) -> None:
    """Docker's overlay2 cannot link to a file of a layer below."""
    ovl1 = made(disk, OVERLAY)
    (image,) = (image for image in IMAGES if image.tags == ("nasty/links-down:1",))
    path = str(written(tmp_path, "app", image_archive(image, BASE)))
    told = ovl1.json("inodes", "forecast", path)["layouts"]
    assert told["docker-overlay2"]["inodes"] is None
    assert "is a hard link to" in told["docker-overlay2"]["refused"]
    assert "cannot be loaded: " in ovl1("inodes", "forecast", path).out


def test_errors(disk: Path, tmp_path: Path) -> None:
    ovl1 = made(disk, OVERLAY)
    assert "cannot be read" in ovl1.error("inodes", "forecast", "none.tar", code=2)["brief"]
    twice = ovl1.error("inodes", "forecast", "-", "-", code=2)
    assert twice["brief"] == "standard input can be read only once"
    bad = written(tmp_path, "bad", b"x" * 5000)
    assert "archive" in ovl1.error("inodes", "forecast", str(bad))["brief"]
    cut = written(tmp_path, "cut", gzip.compress(docker("cut"))[:-50])
    assert "cut short" in ovl1.error("inodes", "forecast", str(cut))["brief"]
    assert used(disk) == used_in_the_end(disk, used(disk))


def test_a_table(disk: Path, tmp_path: Path) -> None:
    ovl1 = made(disk, OVERLAY)
    path = str(written(tmp_path, "app", docker("app")))
    told = ovl1.json("inodes", "forecast", path)
    first, head, *rows = ovl1("inodes", "forecast", path).out.splitlines()
    assert first == "1 new image, 2 new layers."
    assert head.split()[:6] == ["LAYOUT", "TREES", "DRIVER", "RECORDS", "IMAGES", "INODES"]
    assert {row.split()[0]: int(row.split()[5]) for row in rows} == {
        layout: figures["inodes"] for layout, figures in told["layouts"].items()
    }
