"""Loading images: from every form, into both layouts; all of an archive, or nothing of it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import signal
import tarfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple

import pytest

from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.errors import ArchiveError, LayerError, WrongUsage
from ovl1.images import pending
from ovl1.images.blobs import Blobs
from ovl1.images.load import Loaded, load, read_images
from ovl1.images.ocilayout import Platform
from ovl1.images.save import save
from ovl1.images.source import open_directory, open_tar
from ovl1.images.verify import verify_layer
from ovl1.layer.policy import Policy
from ovl1.linux.loopback import loop_file_system
from ovl1.store import writer
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store
from tests.support import archives
from tests.support.archives import Files
from tests.support.child import in_child
from tests.support.layers import entry, make_tar
from tests.support.manifest import differences, manifest
from tests.support.moments import KILLED, Point, counted, killed, points

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

AMD64 = Platform("linux", "amd64")


def layers() -> List[bytes]:
    base = [
        entry("etc/", tarfile.DIRTYPE, uid=3, gid=4, mode=0o751),
        entry("etc/kept", data=b"kept" * 1000),
        entry("etc/gone", data=b"gone"),
        entry("etc/other", tarfile.LNKTYPE, linkname="etc/kept"),
    ]
    changes = [
        entry("etc/", tarfile.DIRTYPE, uid=3, gid=4, mode=0o751),
        entry("etc/.wh.gone"),
        entry("etc/new", data=b"new" * 100_000),
        entry("etc/link", tarfile.SYMTYPE, linkname="new"),
    ]
    last = [entry("opt/", tarfile.DIRTYPE), entry("opt/fifo", tarfile.FIFOTYPE)]
    return [make_tar(entries).read() for entries in (base, changes, last)]


LAYERS = layers()


def opened(path: Path) -> contextlib.AbstractContextManager[Blobs]:
    return open_directory(path) if path.is_dir() else _tar(path)


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[Blobs]:
    with path.open("rb") as file, open_tar(file, path.parent, max_bytes=1 << 30) as blobs:
        yield blobs


class Place(NamedTuple):
    """A store on a disk of its own, and a directory for archives."""

    driver: Driver
    scratch: Path

    @property
    def layout(self) -> Layout:
        return self.driver.layout

    def archive(self, files: Files) -> Path:
        path = self.scratch / "archive.tar"
        path.write_bytes(archives.packed(files))
        return path

    def load(self, path: Path, platform: Platform = AMD64) -> Loaded:
        with opened(path) as blobs:
            return load(self.driver, blobs, read_images(blobs, platform))

    def store(self) -> Store:
        """The store, which must be without any fault."""
        store = Store.of(self.layout)
        assert store.problems == ()
        assert all(verify_layer(store, record).ok for record in store.layers.values())
        assert store.orphans() == []
        return store

    def manifest(self) -> Dict[bytes, object]:
        """The whole data-root, but for the times of directories in which things come and go."""
        layout = self.layout
        found = manifest(layout.data_root)
        busy = (layout.home, layout.staging, layout.links, layout.image_configs, layout.layers)
        trees = [place for place in layout.home.iterdir() if len(place.name) == 64]
        passing = {os.fsencode(path.relative_to(layout.data_root)) for path in (*busy, *trees)}
        return {
            name: about._replace(mtime_ns=0, size=0) if name in passing else about
            for name, about in found.items()
        }


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 128 << 20, inodes=8192) as disk:
        layout = Layout(disk.resolve() / "docker", request.param)
        create_store(layout)
        driver = open_driver(layout.data_root, request.param, runtime=tmp_path / "run", sync=False)
        yield Place(driver, tmp_path)


def image_id(config: bytes) -> str:
    return "sha256:" + hashlib.sha256(config).hexdigest()


def test_what_docker_saved(place: Place) -> None:
    loaded = place.load(place.archive(archives.docker_archive(LAYERS, ("app:1", "app:2"))))
    store = place.store()
    expected = image_id(archives.config_of(LAYERS))
    assert loaded.images == [(expected, ("app:1", "app:2"))]
    assert (loaded.new_layers, loaded.known_layers, loaded.warnings) == (3, 0, [])
    assert store.references.tags == {"app:1": expected, "app:2": expected}
    assert [record.diff_id for record in reversed(store.chain(store.image("app:1")))] == list(
        map(archives.digest, LAYERS)
    )


def test_every_form_gives_the_same_layers(place: Place) -> None:
    layout = archives.Layout()
    packed = layout.image(LAYERS, pack="gzip", **archives.called("docker.io/library/oci:1"))
    forms = [
        archives.docker_archive(LAYERS),
        archives.old_archive(LAYERS),
        layout.finished(packed),
    ]
    for number, files in enumerate(forms):
        loaded = place.load(place.archive(files))
        assert (loaded.new_layers, loaded.known_layers) == ((3, 0) if number == 0 else (0, 3))
    store = place.store()
    assert set(store.references.tags) == {"app:1", "old:1", "oci:1"}
    assert len(store.layers) == 3


def test_a_compressed_layer_is_checked_in_both_forms(place: Place) -> None:
    layout = archives.Layout()
    files = layout.finished(layout.image(LAYERS, pack="gzip", **archives.called("oci:1")))
    assert place.load(place.archive(files)).new_layers == 3
    assert len(place.store().layers) == 3


def test_a_layout_may_be_a_directory(place: Place) -> None:
    layout = archives.Layout()
    files = layout.finished(layout.image(LAYERS, **archives.called("oci:1")))
    for name, content in files.items():
        path = place.scratch / "layout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert place.load(place.scratch / "layout").new_layers == 3
    place.store()


def test_layers_that_are_there_are_not_read(place: Place) -> None:
    place.load(place.archive(archives.docker_archive(LAYERS[:2], ("app:1",))))
    files = archives.docker_archive(LAYERS, ("app:2",))
    files["0/layer.tar"] = b"nobody reads this"
    loaded = place.load(place.archive(files))
    assert (loaded.new_layers, loaded.known_layers) == (1, 2)
    assert len(place.store().layers) == 3


def test_a_name_moves_to_the_newer_image(place: Place) -> None:
    place.load(place.archive(archives.docker_archive(LAYERS[:1])))
    place.load(place.archive(archives.docker_archive(LAYERS)))
    store = place.store()
    assert len(store.images) == 2
    assert len(store.chain(store.image("app:1"))) == 3


def test_what_is_loaded_and_saved_is_the_same_again(place: Place) -> None:
    place.load(place.archive(archives.docker_archive(LAYERS)))
    store = place.store()
    saved = place.scratch / "saved.tar"
    with saved.open("wb") as out:
        save(store, [(store.image("app:1"), ["app:1"])], out)
    with opened(saved) as blobs:
        (image,) = read_images(blobs, AMD64)
        assert image.config == archives.config_of(LAYERS)
        for layer, content in zip(image.layers, LAYERS):
            with blobs.open(layer.blob) as file:
                assert file.read() == content


def test_an_image_without_layers(place: Place) -> None:
    place.load(place.archive(archives.docker_archive(())))
    assert place.store().image("app:1").diff_ids == ()


def cut(files: Files) -> None:
    files["2/layer.tar"] = files["2/layer.tar"][:700]


def flip(files: Files) -> None:
    content = bytearray(files["1/layer.tar"])
    content[content.index(b"newnewnew") + 5] ^= 1
    files["1/layer.tar"] = bytes(content)


def other_layer(files: Files) -> None:
    files["2/layer.tar"] = files["0/layer.tar"]


def hostile(files: Files) -> None:
    evil = make_tar([entry("../../escaped", data=b"evil")]).read()
    config = archives.config_of([*LAYERS[:2], evil])
    files.update({"2/layer.tar": evil, "config.json": config})


def bomb(files: Files) -> None:
    tar = make_tar([entry("zeros", data=bytes(8 << 20))]).read()
    config = archives.config_of([*LAYERS[:2], tar])
    files.update({"2/layer.tar": gzip.compress(tar), "config.json": config})


def bad_name(files: Files) -> None:
    (listed,) = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps([{**listed, "RepoTags": ["UPPER CASE"]}]).encode()


def no_config(files: Files) -> None:
    del files["config.json"]


@pytest.mark.parametrize("damage", [cut, flip, other_layer, hostile, bomb, bad_name, no_config])
@pytest.mark.parametrize("before", [[], LAYERS[:1]], ids=["empty", "one-layer"])
def test_a_bad_archive_changes_nothing(
    place: Place, damage: Callable[[Files], None], before: List[bytes]
) -> None:
    limited = open_driver(
        place.layout.data_root,
        place.layout.driver,
        policy=Policy(max_bytes=1 << 20),
        runtime=place.scratch / "run",
        sync=False,
    )
    place = place._replace(driver=limited)
    if before:
        place.load(place.archive(archives.docker_archive(before, ("before:1",))))
    files = archives.docker_archive(LAYERS)
    damage(files)
    path = place.archive(files)
    earlier = place.manifest()
    with pytest.raises((ArchiveError, LayerError, WrongUsage)):
        place.load(path)
    assert differences(earlier, place.manifest()) == []  # type: ignore[arg-type]
    assert not list(place.scratch.rglob("escaped"))
    place.load(place.archive(archives.docker_archive(LAYERS)))
    place.store()


CALLS = ("append_line", "os.rename", "write_file", "sync_file_system")
NAMED = "app:1"


def loads(place: Place) -> Callable[[], int]:
    def action() -> int:
        place.load(place.scratch / "archive.tar")
        return 0

    return action


def test_a_kill_leaves_all_of_it_or_nothing(place: Place, full: bool) -> None:
    place.load(place.archive(archives.docker_archive(LAYERS[:1], ("before:1",))))
    path = place.archive(archives.docker_archive(LAYERS))
    ended = in_child(counted(CALLS, loads(place)))
    assert ended.code == 0, ended
    calls: Dict[str, int] = json.loads(ended.err.replace("'", '"'))
    assert all(calls.values()), calls
    all_points = points(calls)
    outcomes = set()
    for point in all_points if full else all_points[::3]:
        undo(place)
        before = place.manifest()
        ended = in_child(killed(point, loads(place)))
        assert ended.code == KILLED, (point, ended)
        outcomes.add(recovered(place, before, point))
        place.load(path)
        assert len(place.store().layers) == 3
    assert outcomes == {"old", "new"}


def recovered(place: Place, before: Dict[bytes, object], point: Point) -> str:
    pending.recover(place.driver)
    store = place.store()
    if NAMED in store.references.tags:
        assert len(store.layers) == 3
        return "new"
    assert differences(before, place.manifest()) == [], point  # type: ignore[arg-type]
    return "old"


def undo(place: Place) -> None:
    """Go back to the store with one layer, by other means than those that are tested."""
    store = place.store()
    writer.remove_image(place.layout, store.image(NAMED).image_id)
    for record in sorted(store.layers.values(), key=lambda record: -record.size):
        if record.parent is not None:
            writer.unregister_layer(place.layout, record.chain_id)
            place.driver.remove(record.cache_id)
    names = json.loads(place.layout.repositories.read_bytes())
    del names["Repositories"]["app"]
    place.layout.repositories.write_bytes(json.dumps(names).encode())
    for mark in place.layout.home.glob("*/committed"):
        mark.unlink()


def test_an_interrupt_takes_everything_back(place: Place) -> None:
    path = place.archive(archives.docker_archive(LAYERS))
    before = place.manifest()

    def interrupt(_phase: str, done: int, _total: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with opened(path) as blobs, pytest.raises(KeyboardInterrupt):
        load(place.driver, blobs, read_images(blobs, AMD64), progress=interrupt)
    assert differences(before, place.manifest()) == []  # type: ignore[arg-type]
