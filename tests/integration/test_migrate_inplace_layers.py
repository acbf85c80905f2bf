"""Single layers converted where they are: what may surprise in them, and what is refused."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import Iterator, List

import pytest

from ovl1.driver.convert import Conversion
from ovl1.errors import HalfDone, LayerError
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.migrate.inplace.convert import convert, undo
from ovl1.migrate.inplace.prune import prune
from ovl1.migrate.inplace.record import read
from ovl1.model import ChainId, LayerId
from tests.support.inode_flags import immutable
from tests.support.inplace import InPlace, there_and_back
from tests.support.inplace_stores import varied_store
from tests.support.layers import Made, entry
from tests.support.manifest import differences
from tests.support.store_builder import StoreBuilder

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path_factory.mktemp("disk"), 256 << 20) as mounted:
        yield mounted


@pytest.fixture
def place(disk: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=disk) as name:
        yield Path(name)


def chain(builder: StoreBuilder, *layers: List[Made]) -> List[Path]:
    """The trees of layers, one on the other."""
    parent: ChainId | None = None
    roots = []
    for entries in layers:
        parent = builder.real_layer(entries, parent)
        roots.append(builder.layout.root(builder.cache_ids[parent]))
    return roots


BASE = [
    entry("d", DIR),
    entry("d/file", data=b"file"),
    entry("d/sub", DIR),
    entry("d/sub/one", data=b"one"),
    entry("file", data=b"file"),
    entry("link", LINK, linkname="d"),
]

SURPRISES = {
    "a file for a directory": [entry("d", data=b"now a file")],
    "a directory for a file": [entry("file", DIR), entry("file/x", data=b"x")],
    "a directory for a link": [entry("link", DIR), entry("link/x", data=b"x")],
    "a link for a directory": [entry("d", LINK, linkname="nowhere")],
    "an opaque directory": [entry("d", DIR), entry("d/.wh..wh..opq"), entry("d/new", data=b"n")],
    "a directory made again": [entry(".wh.d"), entry("d", DIR), entry("d/sub", DIR)],
    "whiteouts": [entry("d/.wh.file"), entry("d/sub/.wh.one"), entry(".wh.link")],
    "a whiteout of nothing": [entry("d/.wh.nothing")],
    "hard links": [
        entry("h", data=b"h"),
        entry("d/h", HARD, linkname="h"),
        entry("d/sub/h", HARD, linkname="h"),
    ],
    "a hard link to the parent's file": [entry("again", HARD, linkname="d/file")],
    "odd names": [entry("d/\udcff\n\udc80 \u00e4", data=b"1"), entry("\udced\udcb2", DIR)],
    "an empty file, and links that share an inode": [
        entry("a"),
        entry("s", LINK, linkname="x"),
        entry("t", HARD, linkname="s"),
    ],
    "nothing": [],
}


@pytest.mark.parametrize("entries", SURPRISES.values(), ids=SURPRISES)
def test_surprises(place: Path, entries: List[Made]) -> None:
    """In a layer in the middle, with a child that has all that it inherits."""
    builder = StoreBuilder(place / "docker")
    chain(builder, BASE, entries, [entry("top", data=b"t")])
    there_and_back(InPlace(builder.open()), place / "built")


def test_devices_that_hide_nothing(place: Path) -> None:
    """A child's clone of the parent's device 0:0: as a link, as another inode, changed, missing."""
    builder = StoreBuilder(place / "docker")
    names = [f"d/zero{number}" for number in range(4)]
    base, root = chain(builder, BASE, [entry("top", data=b"t")])
    for name in names:
        os.mknod(base / name, stat.S_IFCHR | 0o644, os.makedev(0, 0))
        os.utime(base / name, (10**9, 10**9))
    os.link(base / names[0], root / names[0])
    os.mknod(root / names[1], stat.S_IFCHR | 0o644, os.makedev(0, 0))
    os.utime(root / names[1], (10**9, 10**9))
    os.mknod(root / names[2], stat.S_IFCHR | 0o600, os.makedev(0, 0))
    os.utime(root / "d", (10**9, 10**9))
    for keep in (True, False):
        store = InPlace(builder.open(), keep_directory_times=keep)
        # A base is renamed with all that is in it: the devices are not in a base made anew.
        there_and_back(store)


def test_marks_that_mean_nothing_in_a_complete_tree(place: Path) -> None:
    builder = StoreBuilder(place / "docker")
    _, root, _ = chain(builder, BASE, [entry("d/new", data=b"n")], [entry("d/top", data=b"t")])
    os.setxattr(root / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(root / "d" / "sub", "trusted.overlay.opaque", b"y")
    there_and_back(InPlace(builder.open()), place / "built")


def test_a_deep_path(place: Path, full: bool) -> None:
    builder = StoreBuilder(place / "docker")
    first, second = chain(builder, BASE, [entry("top", data=b"t")])
    for root in (first, second):
        here = Directory.open(root)
        for _ in range(250 if full else 120):
            here.mkdir(b"deep")
            with here:
                below = here.child(b"deep")
            here = below
        with here:
            here.symlink(b"target", b"link")
            here.set_times(b"link", 0, 0)
            if root == second:
                here.mknod(b"file", stat.S_IFREG | 0o644)
    there_and_back(InPlace(builder.open()), place / "built")


def test_sparse_files_stay_what_they_are(place: Path) -> None:
    builder = StoreBuilder(place / "docker")
    _, root = chain(builder, BASE, [entry("top", data=b"t")])
    os.truncate(root / "top", 1 << 26)
    before = (root / "top").stat()
    store = InPlace(builder.open())
    store.forward()
    after = (root.with_name("diff") / "top").stat()
    assert (after.st_ino, after.st_size, after.st_blocks) == (
        before.st_ino,
        before.st_size,
        before.st_blocks,
    )
    store.back()
    assert (root / "top").stat().st_blocks == before.st_blocks


def test_whiteouts_and_marks_share_inodes(place: Path) -> None:
    builder = StoreBuilder(place / "docker")
    whiteouts = [entry("d/.wh.file"), entry("d/sub/.wh.one"), entry(".wh.link")]
    roots = chain(builder, BASE, whiteouts, [entry("d/.wh.sub")], [entry("x", data=b"x")])
    store = InPlace(builder.open())
    store.forward()
    diffs = [root.with_name("diff") for root in roots]
    hidden = (diffs[1] / "d/file", diffs[1] / "d/sub/one", diffs[1] / "link", diffs[2] / "d/sub")
    assert len({path.lstat().st_ino for path in hidden}) == 1
    marks = [diff.with_name("committed") for diff in diffs[:-1]]
    assert len({path.stat().st_ino for path in marks}) == 1
    assert stat.S_IMODE(marks[0].stat().st_mode) == 0o600


class Refusal:
    """A container of a store, which must stay as it is."""

    def __init__(self, place: Path) -> None:
        self.store = varied_store(place / "docker")
        last = [layer for layer in self.store.layers if layer.kind == "container"][-1]
        self.layer: Conversion = last
        self.upper = self.store.layout.upper(LayerId(last.layer_id))

    def is_made(self, match: str) -> None:
        before = self.store.manifest()
        with pytest.raises(LayerError, match=match):
            self.store.decide(self.layer)
        assert differences(before, self.store.manifest()) == []
        assert list(self.store.area.iterdir()) == []


@pytest.fixture
def refusal(place: Path) -> Refusal:
    return Refusal(place)


def test_a_directory_renamed_by_the_kernel_is_refused(refusal: Refusal) -> None:
    os.setxattr(refusal.upper / "new", "trusted.overlay.redirect", b"/old")
    refusal.is_made("redirect")


@pytest.mark.parametrize("name", ["new/x", "hosts"])
def test_a_file_without_its_data_is_refused(refusal: Refusal, name: str) -> None:
    os.setxattr(refusal.upper / name, "trusted.overlay.metacopy", b"")
    refusal.is_made("metacopy")


def test_an_index_is_refused(refusal: Refusal) -> None:
    index = refusal.upper.with_name("work") / "index"
    index.mkdir()
    (index / "00fb").touch()
    refusal.is_made("index=on")


@pytest.mark.parametrize("name", [".", "dev", "new"])
def test_an_immutable_directory_is_refused(refusal: Refusal, name: str) -> None:
    with immutable(refusal.upper / name):
        refusal.is_made("immutable")


def test_what_the_init_layer_hides_and_the_container_does_not_is_refused(
    refusal: Refusal,
) -> None:
    init = LayerId(f"{refusal.layer.layer_id}-init")
    os.mknod(refusal.store.layout.upper(init) / "etc", stat.S_IFCHR, os.makedev(0, 0))
    refusal.is_made("lower layer")


def test_what_has_been_decided_holds(place: Path) -> None:
    store = varied_store(place / "docker")
    layer = store.layers[-1]
    store.decide(layer)
    record = store.area / layer.layer_id
    before = record.read_bytes()
    (store.layout.upper(layer.layer_id) / "later").touch()
    store.decide(layer, "another digest")
    assert record.read_bytes() == before


def test_both_trees_at_once_are_nobodys(place: Path) -> None:
    store = varied_store(place / "docker")
    layer = store.layers[-1]
    store.decide(layer)
    store.layout.diff(layer.layer_id).mkdir()
    before = store.manifest()
    record = read(store.area / layer.layer_id)
    with pytest.raises(HalfDone, match="both"):
        prune(store.layout.layer(layer.layer_id), record, store.area)
    assert differences(before, store.manifest()) == []


def test_without_a_record_there_is_nothing_to_undo(place: Path) -> None:
    store = varied_store(place / "docker")
    store.back()
    assert differences(store.before, store.manifest()) == []


def test_half_a_layer_goes_either_way(place: Path) -> None:
    """Undone, converted, undone: without its record being removed in between."""
    store = varied_store(place / "docker")
    store.layout.links.mkdir()
    layer = store.layers[-1]
    for _ in range(2):
        store.decide(layer)
        convert(store.layout, read(store.area / layer.layer_id))
        undo(store.layout, store.area, layer.layer_id)
    store.forget()
    assert store.differences() == []
