"""Making layers: what is there afterwards, on disk too, and what is refused."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import pytest

from ovl1.driver.base import Driver
from ovl1.errors import BrokenStore, Refused
from ovl1.model import IdMaps, IdRange, LayerId
from ovl1.store.trees import LEFTOVER, read_trees
from tests.conformance.world import A, C, D, World, new_id
from tests.support.layers import entry, make_tar
from tests.support.manifest import differences, manifest

GHOST = LayerId("f" * 64)
PAIR = (100000, 200000)
MAPS = IdMaps((IdRange(0, PAIR[0], 65536),), (IdRange(0, PAIR[1], 65536),))

BAD_IDS = ["", ".", "..", "/", "a/b", "../x", "x" * 64, "a" * 63, f"{GHOST}\n", f" {GHOST}", "l"]
BAD_IDS += [f"{GHOST}-removing", f"{GHOST}/../{GHOST}", "\0", "A" * 64]

CALLS: Dict[str, Callable[[Driver, LayerId], object]] = {
    "metadata": lambda driver, bad: driver.metadata(bad),
    "create": lambda driver, bad: driver.create(bad, None),
    "create over": lambda driver, bad: driver.create(new_id(), bad),
    "create_read_write": lambda driver, bad: driver.create_read_write(bad, None),
    "remove": lambda driver, bad: driver.remove(bad),
    "get": lambda driver, bad: driver.get(bad),
    "put": lambda driver, bad: driver.put(bad),
    "exists": lambda driver, bad: driver.exists(bad),
    "apply_diff": lambda driver, bad: driver.apply_diff(bad, None, io.BytesIO()),
    "diff": lambda driver, bad: driver.diff(bad, None),
    "changes": lambda driver, bad: driver.changes(bad, None),
    "diff_size": lambda driver, bad: driver.diff_size(bad, None),
}


@pytest.fixture
def image(world: World) -> LayerId:
    return world.image(None, entry("dir/", b"5", mode=0o751), entry("dir/file", data=b"content"))


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_id_is_refused(world: World, call: str) -> None:
    before = manifest(world.data_root)
    for bad in BAD_IDS:
        with pytest.raises(BrokenStore):
            CALLS[call](world.driver, LayerId(bad))
    assert differences(before, manifest(world.data_root)) == []


def test_ids_of_docker_and_of_buildkit(world: World, image: LayerId) -> None:
    for layer_id in (new_id(), new_id("-init"), LayerId("k3b1x8f0m7pq2zr9w5tc4hd6j")):
        world.driver.create_read_write(layer_id, image)
        with world.at(layer_id) as root:
            assert (root / "dir" / "file").exists()


def test_create_twice(world: World, image: LayerId) -> None:
    container = world.container(image)
    with world.at(container) as root:
        (root / "precious").write_text("data")
    before = manifest(world.data_root)
    for layer_id in (image, container):
        for parent in (None, image):
            with pytest.raises(Refused, match="already"):
                world.driver.create(layer_id, parent)
    assert differences(before, manifest(world.data_root)) == []


def test_a_missing_parent_leaves_nothing(world: World) -> None:
    before = manifest(world.data_root)
    layer_id = new_id()
    with pytest.raises(BrokenStore, match="no layer"):
        world.driver.create(layer_id, GHOST)
    assert not world.driver.exists(layer_id)
    assert list(differences(before, manifest(world.data_root))) == []


def test_exists(world: World, image: LayerId) -> None:
    assert world.driver.exists(image)
    assert world.again().exists(image)
    assert not world.driver.exists(GHOST)
    world.driver.remove(image)
    assert not world.driver.exists(image)


def test_no_such_layer(world: World, image: LayerId) -> None:
    for ask in (world.driver.metadata, world.driver.get):
        with pytest.raises(BrokenStore, match="no layer"):
            ask(GHOST)
    pairs: List[Tuple[LayerId, Optional[LayerId]]] = [
        *((GHOST, None), (GHOST, image), (image, GHOST))
    ]
    for pair in pairs:
        for compare in (world.driver.diff, world.driver.changes, world.driver.diff_size):
            with pytest.raises(BrokenStore, match="no layer"):
                compare(*pair)
        with pytest.raises(BrokenStore, match="no layer"):
            world.driver.apply_diff(pair[0], pair[1], io.BytesIO())


def test_status(world: World) -> None:
    ask = ["stat", "--file-system", "--format=%T", os.fspath(world.data_root)]
    kind = subprocess.check_output(ask, text=True).strip()
    assert world.driver.status() == [
        ("Backing Filesystem", kind.replace("ext2/ext3", "extfs")),
        ("Supports d_type", "true"),
    ]


def test_metadata_of_a_base_layer(world: World, image: LayerId) -> None:
    place = os.fspath(world.layout.layer(image))
    if world.is_v1:
        assert world.driver.metadata(image) == {"RootDir": f"{place}/root"}
    else:
        expected = {"UpperDir": "diff", "WorkDir": "work", "MergedDir": "merged"}
        assert world.driver.metadata(image) == {
            key: f"{place}/{name}" for key, name in expected.items()
        }


def test_metadata_of_a_container(world: World, image: LayerId) -> None:
    top = world.image(image, entry("top"))
    container = world.container(top)
    place, layout = world.layout.layer(container), world.layout
    lowers = [layout.root(top)] if world.is_v1 else [layout.diff(top), layout.diff(image)]
    expected = {
        "LowerDir": ":".join(map(os.fspath, lowers)),
        "UpperDir": f"{place}/{'upper' if world.is_v1 else 'diff'}",
        "WorkDir": f"{place}/work",
        "MergedDir": f"{place}/merged",
    }
    assert world.driver.metadata(container) == expected
    world.driver.get(container)
    assert world.driver.metadata(container) == expected
    world.driver.put(container)


def modes(place: Path) -> Dict[str, Tuple[str, int, int]]:
    found = {}
    for path in (place, *place.iterdir()):
        status = path.lstat()
        name = "" if path == place else path.name
        found[name] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid)
    return found


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_modes_are_those_of_docker(world: World, image: LayerId, umask: int) -> None:
    before = os.umask(umask)
    try:
        base, container = world.empty(), world.container(image)
    finally:
        os.umask(before)
    if world.is_v1:
        assert modes(world.layout.layer(base)) == {
            "": ("drwx--x---", 0, 0),
            "root": ("drwxr-xr-x", 0, 0),
        }
        assert modes(world.layout.layer(container)) == {
            "": ("drwx--x---", 0, 0),
            "upper": ("drwxr-xr-x", 0, 0),
            "work": ("drwx------", 0, 0),
            "lower-id": ("-rw-------", 0, 0),
        }
    else:
        assert modes(world.layout.layer(base)) == {
            "": ("drwx--x---", 0, 0),
            "diff": ("drwxr-xr-x", 0, 0),
            "link": ("-rw-r--r--", 0, 0),
        }
        assert modes(world.layout.layer(container)) == {
            "": ("drwx--x---", 0, 0),
            "diff": ("drwxr-xr-x", 0, 0),
            "work": ("drwx------", 0, 0),
            "link": ("-rw-r--r--", 0, 0),
            "lower": ("-rw-r--r--", 0, 0),
        }
        assert modes(world.layout.layer(image))["committed"] == ("-rw-------", 0, 0)


def test_the_upper_has_the_mode_of_what_it_hides(world: World) -> None:
    base = world.image(None, entry("./", b"5", mode=0o1770, uid=5))
    layer_id = world.container(base)
    with world.at(layer_id) as root:
        expected = 0o1770 if world.is_v1 else 0o755
        assert stat.S_IMODE(root.stat().st_mode) == expected


def test_everything_belongs_to_the_containers_root(world: World) -> None:
    mapped = world.again(id_maps=MAPS)
    base, container = new_id(), new_id()
    mapped.create(base, None)
    mapped.apply_diff(base, None, make_tar([entry("a"), entry("b", uid=7, gid=8)]))
    mapped.create_read_write(container, base)
    root = mapped.get(container)
    for path, owner in (
        (mapped.get(base), PAIR),
        (root, PAIR),
        (root / "a", PAIR),
        (root / "b", (PAIR[0] + 7, PAIR[1] + 8)),
        (world.layout.layer(container), (0, PAIR[1])),
        (world.layout.work(container), PAIR),
        (world.layout.work(container) / "work", PAIR),
    ):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == owner, path
    assert world.layout.layer(container).stat().st_mode & 0o7777 == 0o710
    mapped.put(container)
    # And in a tar it is root again.
    copy = world.empty()
    world.driver.apply_diff(copy, None, io.BytesIO(b"".join(mapped.diff(base, None))))
    seen = world.shown(copy)
    assert (seen[b"a"].owner, seen[b"b"].owner) == ((0, 0), (7, 8))


def test_a_store_reader_finds_the_layers(world: World, image: LayerId) -> None:
    upper = world.image(image, entry("dir/.wh.file"))
    container = world.container(upper)
    table = read_trees(world.layout)
    assert table.problems == []
    assert table.trees[container].lower == upper
    assert {tree.kind for tree in table.trees.values()} & {LEFTOVER} == set()


def fill_container(root: Path) -> None:
    (root / "new").mkdir()
    (root / "new" / "one").write_text("one")
    os.link(root / "new" / "one", root / "new" / "two")
    os.link(root / "new" / "one", root / "three")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    (root / "dir" / "file").unlink()
    (root / "gone" / "inside").unlink()
    (root / "gone").rmdir()
    (root / "gone").mkdir()
    os.setxattr(root / "new", "trusted.mine", b"value")
    os.utime(root / "new", ns=(10**18, 10**18 + 1))


def test_a_container_over_a_container(world: World) -> None:
    """As Docker makes each of its containers, over an init layer."""
    image = world.image(
        None, entry("dir/", b"5"), entry("dir/file"), entry("gone/", b"5"), entry("gone/inside")
    )
    init = world.container(image)
    with world.at(init) as root:
        fill_container(root)
    container = world.container(init)
    assert world.driver.changes(container, init) == []
    before, copy = world.shown(init), world.shown(container)
    for name in before.keys() | copy.keys():
        # In overlay2 the root is a new directory.
        assert name == b"." or copy[name] == before[name]
    with world.at(container) as root:
        assert os.listdir(root / "gone") == []
        assert os.path.samefile(root / "three", root / "new" / "two")
        with (root / "three").open("a") as file:
            file.write(" more")
        (root / "new" / "only here").touch()
    assert world.shown(init) == before
    found = world.changes(container, init)
    assert found["/new/only here"] == A
    assert {found.pop(path, None) for path in ("/three", "/new/one", "/new/two")} & {C}
    assert found == {"/new": C, "/new/only here": A}
    whole = world.changes(container, image)
    assert whole["/dir/file"] == whole["/gone/inside"] == D


def test_a_layer_with_children_is_read_only(world: World, image: LayerId) -> None:
    parent = world.container(image)
    with world.at(parent) as root:
        (root / "before").touch()
    world.container(parent)
    with world.at(parent) as root:
        assert (root / "before").exists()
        assert (root / "dir" / "file").exists()
        if world.is_v1:
            (root / "after").touch()
            return
        with pytest.raises(OSError, match="Read-only"):
            (root / "after").touch()


def test_a_layer_that_is_not_whole(world: World, image: LayerId) -> None:
    container = world.container(image)
    layout = world.layout
    record = layout.lower_id(container) if world.is_v1 else layout.lower(container)
    whole = record.read_bytes()
    for torn in (b"", whole[:20], b"../../../etc", b"l/../../etc"):
        record.write_bytes(torn)
        with pytest.raises(BrokenStore):
            world.driver.get(container)
    # Docker cannot mount this one.
    record.write_bytes(whole + b"\n")
    with world.at(container) as root:
        assert (root / "dir" / "file").exists()
    (layout.root(image) if world.is_v1 else layout.diff(image)).rename(layout.home / "x")
    for ask in (world.driver.get, lambda layer: world.driver.changes(layer, None)):
        with pytest.raises(BrokenStore, match="not whole"):
            ask(container)
    assert world.mounted() == []
