"""What is said to come free, against the file system: to the inode and the block."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any, Iterator, Tuple

import pytest

from ovl1.cli.freed import measured
from ovl1.cli.inodes.what_if_values import FREE
from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY
from ovl1.store.writer import create_store
from tests.support.archives import docker_archive, packed
from tests.support.image_cli import Ovl1
from tests.support.layers import entry, make_tar
from tests.support.pairs import PAIRS, need

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs")

LAYERS = [
    make_tar(entries).read()
    for entries in (
        [
            entry("etc/", tarfile.DIRTYPE),
            *(entry(f"etc/{n}", data=b"x" * 5000 * n) for n in range(20)),
            entry("etc/again", tarfile.LNKTYPE, linkname="etc/7"),
            entry("etc/link", tarfile.SYMTYPE, linkname="7"),
            entry("fifo", tarfile.FIFOTYPE),
            *(entry(f"d/{n:0200}", data=b"") for n in range(100)),
        ],
        [
            entry("etc/.wh.3"),
            entry("etc/5", data=b"new"),
            entry("etc/copy", tarfile.LNKTYPE, linkname="etc/7"),
        ],
        [entry("opt/x", data=b"y" * 300_000), entry(".wh.d")],
    )
]
# xfs keeps its indexes of free space and inodes, which also change, in the same space.
XFS_SLACK = 64 << 10
# And inodes, which it gives back where 64 neighbours are free.
XFS_INODE = 512


class Place:
    """A store with three images, each of which has a layer more than the one before."""

    def __init__(self, kind: str, driver: str, disk: Path, scratch: Path) -> None:
        self.kind = kind
        self.ovl1 = Ovl1(disk.resolve() / "docker", driver, scratch / "run")
        self._archives = [scratch / f"{number}.tar" for number in (1, 2, 3)]
        for number, path in enumerate(self._archives, 1):
            path.write_bytes(packed(docker_archive(LAYERS[:number], (f"app:{number}",))))
        create_store(self.ovl1.layout)
        self.load()

    def load(self) -> None:
        """Load the images that are not there."""
        for path in self._archives:
            self.ovl1("image", "load", str(path))

    def check(self, told: Any, inodes: int, size: int) -> None:
        assert inodes == told["inodes"]
        slack = XFS_SLACK if self.kind == "xfs" else 0
        more = XFS_INODE * inodes if self.kind == "xfs" else 0
        assert -slack <= size - told["bytes"] <= slack + more


@pytest.fixture(params=PAIRS, ids="-".join)
def place(request: pytest.FixtureRequest, full: bool, tmp_path: Path) -> Iterator[Place]:
    kind, driver = request.param
    need(kind, driver, full=full)
    with loop_file_system(kind, tmp_path, 512 << 20) as disk:
        yield Place(kind, driver, disk, tmp_path)


@pytest.fixture(scope="module")
def ovl1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ovl1]:
    """For what leaves it as it was."""
    scratch = tmp_path_factory.mktemp("free")
    with loop_file_system("ext4", scratch, 512 << 20) as disk:
        yield Place("ext4", OVERLAY, disk, scratch).ovl1


TOGETHER: Tuple[Tuple[str, ...], ...] = (
    ("app:1",),
    ("app:3",),
    ("app:2", "app:3"),
    ("app:1", "app:3"),
    ("app:1", "app:2", "app:3"),
)


def test_removing_images_frees_what_was_foretold(place: Place) -> None:
    for names in TOGETHER:
        told = place.ovl1.json("inodes", "free", *names)
        done = place.ovl1.json("image", "rm", *names)
        assert told["layers"] == [layer["chain_id"] for layer in done["layers"]]
        assert told["images"] == done["images"]
        place.check(told, done["inodes"], done["bytes"])
        place.load()


def test_removing_layers_frees_what_was_foretold(place: Place) -> None:
    store = place.ovl1.store()
    top = [record.cache_id for record in store.chain(store.image("app:3"))[:2]]
    told = place.ovl1.json("inodes", "free", "--type", "layer", *top)
    assert told["parts"]["records"]["inodes"] == told["parts"]["images"]["inodes"] == 0
    assert told["trees"] == sorted(top)
    with measured(place.ovl1.data_root) as freed:
        for layer_id in top:
            place.ovl1("layer", "rm", "--force", layer_id)
    assert freed.inodes is not None
    place.check(told, freed.inodes, freed.bytes)


def test_together_they_free_more(ovl1: Ovl1) -> None:
    """A file that two layers share comes free with the last of them."""
    one, two, both = (
        ovl1.json("inodes", "free", *names)["inodes"]
        for names in (["app:2"], ["app:3"], ["app:2", "app:3"])
    )
    assert one == 1
    assert both > one + two


def test_a_name_from_anywhere_keeps_an_inode(ovl1: Ovl1) -> None:
    before = ovl1.json("inodes", "free", "app:3")
    store = ovl1.store()
    tree = store.trees[store.chain(store.image("app:3"))[0].cache_id]
    elsewhere = ovl1.data_root / "elsewhere"
    os.link(tree.paths(ovl1.layout)[0] / "opt/x", elsewhere)
    after = ovl1.json("inodes", "free", "app:3")
    elsewhere.unlink()
    assert after["inodes"] == before["inodes"] - 1
    assert after["bytes"] <= before["bytes"] - 300_000
    assert after["kept"] == before["kept"] + 1


def test_nothing_is_changed(ovl1: Ovl1) -> None:
    before = ovl1.manifest()
    ovl1("inodes", "free", "app:1", "app:2", "app:3")
    assert ovl1.manifest() == before


def test_a_table(ovl1: Ovl1) -> None:
    told = ovl1.json("inodes", "free", "app:3")
    head, *rows, last, _, kept = ovl1("inodes", "free", "app:3").out.splitlines()
    assert head.split()[:3] == ["FREED", "INODES", "BYTES"]
    assert last.split()[:2] == ["together", str(told["inodes"])]
    assert last.endswith("1 image, 1 layer")
    assert len(rows) == len(told["parts"])
    assert kept.startswith(f"{told['kept']} inodes (")


def test_a_name_less_frees_nothing(ovl1: Ovl1, tmp_path: Path) -> None:
    archive = tmp_path / "again.tar"
    archive.write_bytes(packed(docker_archive(LAYERS[:1], ("also:1",))))
    ovl1("image", "load", str(archive))
    ended = ovl1("inodes", "free", "also:1")
    ovl1("image", "rm", "also:1")
    assert ended.out.splitlines()[-1].split() == ["together", "0", "0B", "nothing"]
    assert "only names go: also:1" in ended.err


def test_errors(ovl1: Ovl1) -> None:
    error = ovl1.error("inodes", "free", "none", code=2)
    assert error["brief"] == "'none' is neither an image nor a container nor a layer"
    assert "image ls" in error["resolution"]
    assert ovl1.error("inodes", "free", "--type", "container", "app:1", code=2)["brief"]


def test_the_help_has_every_key(ovl1: Ovl1) -> None:
    told = ovl1.json("inodes", "free", "app:1")
    assert {key for keys in FREE for key in keys.split(", ")} == told.keys()
    assert all(f"{keys}: " in ovl1("inodes", "free", "--help").out for keys in FREE)
