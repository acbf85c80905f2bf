"""Filling a layer, and taking its changes out again: whole, or not at all."""

from __future__ import annotations

import ast
import contextlib
import functools
import gzip
import io
import os
import signal
import stat
from pathlib import Path
from typing import Callable, Dict, List, Optional

import pytest

from ovl1.driver import aside
from ovl1.errors import LayerError, Refused
from ovl1.formats.tarstream import as_file
from ovl1.layer.policy import Policy
from ovl1.model import LayerId
from tests.conformance.world import World, assert_soon
from tests.support import moments
from tests.support.child import in_child, running
from tests.support.layers import entry, make_tar, snapshot
from tests.support.manifest import differences, manifest
from tests.support.moments import KILLED, counted, interrupted, killed, points

POINTS = ("os.rename", "aside.remove", "sync_file_system")
moments.OWNERS["aside.remove"] = (aside, "remove")


@pytest.fixture
def image(world: World) -> LayerId:
    return world.image(
        None,
        entry("dir/", b"5", mode=0o751),
        *(entry(f"dir/file{number}", data=b"%d" % number) for number in range(5)),
        entry("link", b"2", linkname="dir"),
        entry("hard", b"1", linkname="dir/file1"),
    )


def change() -> io.BytesIO:
    return io.BytesIO(
        make_tar(
            [
                entry("dir/.wh.file0"),
                entry("dir/file2", data=b"changed"),
                entry("dir/new", data=b"new" * 30000),
                entry("dir/again", b"1", linkname="dir/new"),
                entry("dir/inherited", b"1", linkname="dir/file3", mode=0o600),
            ]
        ).read()
    )


def check_changed(world: World, layer_id: LayerId) -> None:
    with world.at(layer_id) as root:
        names = ["again", "file1", "file2", "file3", "file4", "inherited", "new"]
        assert sorted(os.listdir(root / "dir")) == names
        assert (root / "dir" / "file2").read_bytes() == b"changed"
        assert (root / "dir" / "new").samefile(root / "dir" / "again")
        assert (root / "dir" / "inherited").read_bytes() == b"3"


def parts(world: World, layer_id: LayerId) -> List[str]:
    """What a layer's directory holds, the transient left out."""
    return sorted(
        path.name
        for path in world.layout.layer(layer_id).iterdir()
        if not path.name.startswith("tmproot")
    )


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_tar_becomes_a_layer(
    world: World, image: LayerId, packed: Callable[[bytes], bytes]
) -> None:
    layer_id = world.empty(image)
    tar = io.BytesIO(packed(change().read()))
    applied = world.driver.apply_diff(layer_id, image, tar)
    # On the disk of overlay2 there is also the inherited file, which holds one byte.
    assert (applied.size, applied.entries) == (90007 if world.is_v1 else 90008, 5)
    assert tar.read() == b""
    check_changed(world, layer_id)
    expected = ["root"] if world.is_v1 else ["diff", "link", "lower", "work"]
    assert parts(world, layer_id) == expected


@pytest.mark.parametrize("over", [True, False], ids=["over another", "base"])
def test_nothing_at_all_is_a_layer(world: World, image: LayerId, over: bool) -> None:
    parent = image if over else None
    for tar in (b"", bytes(1024)):
        layer_id = world.empty(parent)
        assert world.driver.apply_diff(layer_id, parent, io.BytesIO(tar)).size == 0
        assert not over or world.driver.changes(layer_id, image) == []
        with world.at(layer_id) as root:
            assert len(os.listdir(root)) == (3 if over else 0)


def test_a_layer_is_filled_once(world: World, image: LayerId) -> None:
    layer_id = world.empty(image)
    world.driver.apply_diff(layer_id, image, change())
    before = manifest(world.data_root)
    for filled, parent in ((layer_id, image), (image, None)):
        with pytest.raises(Refused, match="filled already"):
            world.driver.apply_diff(filled, parent, change())
    assert differences(before, manifest(world.data_root)) == []


def test_not_while_it_is_mounted(world: World, image: LayerId) -> None:
    layer_id = world.empty(image)
    with world.at(layer_id), pytest.raises(Refused, match="is mounted"):
        world.driver.apply_diff(layer_id, image, change())
    world.driver.apply_diff(layer_id, image, change())
    check_changed(world, layer_id)


def test_over_another_parent_than_its_own(world: World, image: LayerId) -> None:
    other, layer_id = world.image(None, entry("other")), world.empty(image)
    container = world.container(other)
    for parent in (other, None, container):
        with pytest.raises(Refused, match=r"made over|has a parent"):
            world.driver.apply_diff(layer_id, parent, change())
    world.driver.apply_diff(layer_id, image, change())
    check_changed(world, layer_id)


def test_the_parent_stays_as_it_was(world: World, image: LayerId) -> None:
    """A hard link to what is inherited, with another mode: Docker changes the parent with it."""
    place = world.layout.layer(image)
    layer_id = world.empty(image)
    before = snapshot(place)
    world.driver.apply_diff(layer_id, image, change())
    assert snapshot(place) == before


BAD: Dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda whole: whole[:20000],
    "damaged": lambda whole: whole[:600] + b"\xff" * 512 + whole[1112:],
    "no tar": lambda whole: b"no tar" * 200,
    "cut gzip": lambda whole: gzip.compress(whole)[:-20],
}


@pytest.mark.parametrize("over", [True, False], ids=["over another", "base"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_tar_leaves_the_layer_as_it_was(
    world: World, image: LayerId, bad: str, over: bool
) -> None:
    parent = image if over else None
    layer_id = world.empty(parent)
    before = manifest(world.layout.layer(layer_id))
    with pytest.raises(LayerError):
        world.driver.apply_diff(layer_id, parent, io.BytesIO(BAD[bad](change().read())))
    told = differences(before, manifest(world.layout.layer(layer_id)))
    assert [line for line in told if "mtime_ns" not in line] == []
    world.driver.apply_diff(layer_id, image if over else None, make_tar([entry("good")]))
    with world.at(layer_id) as root:
        assert (root / "good").exists()


def test_a_reader_that_fails(world: World, image: LayerId) -> None:
    class Failing(io.BytesIO):
        def read(self, size: Optional[int] = -1) -> bytes:
            if self.tell() > 10000:
                raise ConnectionResetError
            return super().read(512)

    layer_id = world.empty(image)
    with pytest.raises(ConnectionResetError):
        world.driver.apply_diff(layer_id, image, Failing(change().read()))
    world.driver.apply_diff(layer_id, image, change())
    check_changed(world, layer_id)


def test_a_limit(world: World, image: LayerId) -> None:
    layer_id = world.empty(image)
    with pytest.raises(LayerError, match="more than"):
        world.again(policy=Policy(max_bytes=5000)).apply_diff(layer_id, image, change())
    world.driver.apply_diff(layer_id, image, change())


def test_killed_in_the_middle_of_a_tar(world: World, image: LayerId) -> None:
    layer_id = world.empty(image)
    reading, writing = os.pipe()

    def fill() -> int:
        with open(reading, "rb", closefd=False) as file:
            world.again().apply_diff(layer_id, image, file)
        return 0

    with running(fill) as child:
        os.write(writing, change().read()[:30000])
        assert_soon(lambda: any(world.layout.layer(layer_id).glob("tmproot*")))
        child.signal(signal.SIGSTOP)
        child.signal(signal.SIGKILL)
        assert child.wait().code == -signal.SIGKILL
    os.close(reading)
    os.close(writing)
    world.driver.apply_diff(layer_id, image, change())
    check_changed(world, layer_id)
    assert not list(world.layout.layer(layer_id).glob("tmproot*"))


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
@pytest.mark.parametrize("kind_of_parent", ["image", "container", "none"])
def test_killed_at_any_moment(world: World, image: LayerId, kind_of_parent: str) -> None:
    parent = {"image": image, "container": None, "none": None}[kind_of_parent]
    if kind_of_parent == "container":
        parent = world.container(image)
    tar = change().read() if parent else make_tar([entry("file", data=b"x")]).read()

    def fill(layer_id: LayerId) -> int:
        world.again(sync=True).apply_diff(layer_id, parent, io.BytesIO(tar))
        return 0

    first = world.empty(parent)
    told = in_child(counted(POINTS, functools.partial(fill, first)))
    assert told.code == 0, told.err
    expected = world.shown(first)
    for point in points(ast.literal_eval(told.err)):
        layer_id = world.empty(parent)
        ended = in_child(killed(point, functools.partial(fill, layer_id)))
        assert ended.code == KILLED, (point, ended)
        if not world.driver.exists(layer_id):
            world.driver.create(layer_id, parent)
        # Or it had been filled when it was killed.
        with contextlib.suppress(Refused):
            fill(layer_id)
        assert world.shown(layer_id).keys() == expected.keys(), point
        if parent:
            check_changed(world, layer_id)
        world.driver.remove(layer_id)
    world.driver.cleanup()
    left = {path.name for path in world.layout.home.iterdir()} - {first, image, parent, "l"}
    assert left == set()


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
def test_interrupted_at_any_moment(world: World, image: LayerId) -> None:
    """By Ctrl-C: then there is time to tidy up."""

    def fill(layer_id: LayerId) -> int:
        world.again(sync=True).apply_diff(layer_id, image, change())
        return 0

    told = in_child(counted(POINTS, functools.partial(fill, world.empty(image))))
    for point in points(ast.literal_eval(told.err)):
        layer_id = world.empty(image)
        ended = in_child(interrupted(point, functools.partial(fill, layer_id)))
        assert "KeyboardInterrupt" in ended.err, (point, ended)
        assert not list(world.layout.layer(layer_id).glob("tmproot*")), point
        with contextlib.suppress(Refused):
            fill(layer_id)
        check_changed(world, layer_id)


def test_over_a_container(world: World, image: LayerId) -> None:
    """Such a layer has the container's changes as a copy of its own, and links lead over both."""
    parent = world.container(image)
    with world.at(parent) as root:
        (root / "dir" / "file4").unlink()
        (root / "made").mkdir()
        (root / "made" / "file").write_text("made")
        os.link(root / "made" / "file", root / "made" / "link")
    before = world.shown(parent)
    layer_id = world.empty(parent)
    tar = make_tar(
        [entry("made/file", data=b"again"), entry("dir/.wh.file0"), entry("dir/new", data=b"n")]
    )
    world.driver.apply_diff(layer_id, parent, tar)
    with world.at(layer_id) as root:
        assert sorted(os.listdir(root / "dir")) == ["file1", "file2", "file3", "new"]
        assert (root / "made" / "file").read_text() == "again"
        assert (root / "made" / "link").read_text() == "made"
    assert world.shown(parent) == before


def make_everything(root: Path) -> None:
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 0))
    (root / "file").write_text("text")
    os.link(root / "file", root / "other")
    os.link(root / "dir" / "file1", root / "third")
    os.symlink("nowhere", root / "symlink")
    os.setxattr(root / "file", "user.mine", b"value")
    os.setxattr(root / "file", "security.capability", b"\1\0\0\2\0\4" + bytes(14))
    os.utime(root / "file", ns=(0, 10**9 * 1234567890))


def test_what_a_container_made_becomes_an_image(world: World, image: LayerId) -> None:
    """As ``docker commit`` does it: diff into apply, both at once."""
    container = world.container(image)
    with world.at(container) as root:
        make_everything(root)
        (root / "dir" / "file4").unlink()
        layer_id = world.empty(image)
        world.driver.apply_diff(layer_id, image, as_file(world.driver.diff(container, image)))
    made, copy = world.shown(container), world.shown(layer_id)
    assert made.keys() == copy.keys()
    for name, entry_made in made.items():
        whole = 10**9
        assert copy[name].mode == entry_made.mode, name
        assert copy[name].content == entry_made.content, name
        assert copy[name].device == entry_made.device, name
        assert copy[name].xattrs == entry_made.xattrs, name
        if not stat.S_ISDIR(entry_made.mode):
            assert copy[name].mtime_ns // whole == entry_made.mtime_ns // whole, name
    assert copy[b"other"].same_as == b"file"


def test_a_socket_is_left_out_of_a_tar(world: World, image: LayerId) -> None:
    """Tars have none; but a layer over it has it."""
    container = world.container(image)
    with world.at(container) as root:
        os.mknod(root / "socket", stat.S_IFSOCK | 0o640)
        (root / "file").touch()
    copy = world.image(image)
    world.driver.remove(copy)
    world.driver.create(copy, image)
    world.driver.apply_diff(copy, image, as_file(world.driver.diff(container, image)))
    with world.at(copy) as root:
        assert sorted(os.listdir(root)) == ["dir", "file", "hard", "link"]
    with world.at(world.container(container)) as root:
        assert stat.S_ISSOCK((root / "socket").lstat().st_mode)


def test_a_diff_that_is_not_read_to_its_end(world: World, image: LayerId) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    for layer_id, parent in ((image, None), (world.container(image), image)):
        chunks = world.driver.diff(layer_id, parent)
        assert next(chunks)
        del chunks
        unread = world.driver.diff(layer_id, parent)
        del unread
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_layer_that_is_removed_while_it_is_read(world: World, image: LayerId) -> None:
    """What is gone must not look like a layer without files."""
    chunks = world.driver.diff(image, None)
    world.driver.remove(image)
    with pytest.raises(LayerError, match="removed while"):
        list(chunks)
    assert not world.driver.exists(image)
