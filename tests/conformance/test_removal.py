"""Removing: a layer is there as a whole, or it is not there, and somebody can finish the work."""

from __future__ import annotations

import ast
import errno
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from ovl1.driver import aside, overlay1, overlay2
from ovl1.errors import Refused
from ovl1.linux import mounts
from ovl1.model import LayerId, Mount
from tests.conformance.world import World, new_id
from tests.support import moments
from tests.support.child import in_child
from tests.support.layers import entry
from tests.support.moments import KILLED, counted, killed, points

READY = "print(flush=True); sys.stdin.read()"

moments.OWNERS.update(
    {
        "aside.remove": (aside, "remove"),
        "os.symlink": (os, "symlink"),
        "os.rmdir": (os, "rmdir"),
        "Path.unlink": (Path, "unlink"),
        "Path.mkdir": (Path, "mkdir"),
        "overlay1.create_file": (overlay1, "create_file"),
        "overlay2.create_file": (overlay2, "create_file"),
    }
)
REMOVING = ("os.rename", "aside.remove", "os.rmdir", "Path.unlink")
CREATING = (
    *("os.rename", "aside.remove", "Path.mkdir", "os.symlink"),
    *("overlay1.create_file", "overlay2.create_file"),
)


@pytest.fixture
def image(world: World) -> LayerId:
    return world.image(None, entry("dir/", b"5"), entry("dir/file", data=b"content"))


@pytest.fixture
def layer(world: World, image: LayerId) -> LayerId:
    layer_id = world.container(image)
    with world.at(layer_id) as root:
        (root / "dir" / "new").write_text("new")
    return layer_id


def names(world: World) -> List[str]:
    """What the driver's home holds, the links of overlay2 included."""
    home = world.layout.home
    found = {path.name for path in home.iterdir()} - {"l"}
    if not world.is_v1:
        found |= {os.readlink(path) for path in world.layout.links.iterdir()}
    return sorted(found)


def of(world: World, *layers: LayerId) -> List[str]:
    """What `names` is, if just these layers are there."""
    links = [] if world.is_v1 else [f"../{layer}/diff" for layer in layers]
    return sorted([*layers, *links])


def test_it_is_gone(world: World, image: LayerId, layer: LayerId) -> None:
    world.driver.remove(layer)
    assert names(world) == of(world, image)
    assert (world.shown(image)[b"dir/file"]).content == b"content"
    world.driver.remove(image)
    assert names(world) == []


def test_a_missing_one_is_fine(world: World, layer: LayerId) -> None:
    world.driver.remove(new_id())
    world.driver.remove(layer)
    world.driver.remove(layer)


def test_a_mounted_one_is_unmounted(world: World, image: LayerId, layer: LayerId) -> None:
    """As BuildKit wants it, which removes without a put."""
    for _ in range(3):
        world.driver.get(layer)
    inside = world.layout.merged(layer) / "dir"
    mounts.mount(Mount("tmpfs", "tmpfs"), inside)
    world.driver.remove(layer)
    assert world.mounted() == []
    assert names(world) == of(world, image)


def test_the_same_id_again(world: World, image: LayerId, layer: LayerId) -> None:
    world.driver.get(layer)
    world.driver.remove(layer)
    world.driver.create_read_write(layer, image)
    with world.at(layer) as root:
        assert not (root / "dir" / "new").exists()


USES = {
    "works in": "import os; os.chdir(sys.argv[1])",
    "open": "file = open(sys.argv[1] + '/dir/file')",
    "root": "import os; os.chroot(sys.argv[1])",
}


@pytest.mark.parametrize("use", USES)
def test_the_one_that_uses_it_is_named(world: World, layer: LayerId, use: str) -> None:
    merged = world.driver.get(layer)
    code = f"import sys; {USES[use]}; {READY}"
    with subprocess.Popen(
        [sys.executable, "-c", code, merged], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"\n"
            with pytest.raises(Refused, match="in use") as caught:
                world.driver.remove(layer)
        finally:
            process.kill()
    assert f"process {process.pid} " in caught.value.details
    assert use in caught.value.details
    assert str(merged) in caught.value.brief
    # Nothing was changed, not even the count.
    assert (merged / "dir" / "new").read_text() == "new"
    world.driver.put(layer)
    assert world.mounted() == []
    world.driver.remove(layer)


def test_used_by_a_program_that_runs_from_it(world: World, layer: LayerId) -> None:
    merged = world.driver.get(layer)
    program = merged / "program"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "60"], cwd="/") as process:
        try:
            with pytest.raises(Refused) as caught:
                world.driver.remove(layer)
        finally:
            process.kill()
    assert f"process {process.pid} (program) runs {program}" in caught.value.details
    world.driver.put(layer)


def test_used_by_this_process(world: World, layer: LayerId) -> None:
    merged = world.driver.get(layer)
    with (merged / "dir" / "file").open(), pytest.raises(Refused, match="in use"):
        world.driver.remove(layer)
    world.driver.put(layer)


def each_point(
    world: World, calls: List[str], action: Callable[[LayerId], int], make: Callable[[], LayerId]
) -> List[LayerId]:
    """Do `action` to a layer of its own for each point at which it was killed; those layers."""
    first = make()
    told = in_child(counted(calls, functools.partial(action, first)))
    assert told.code == 0, told.err
    done: List[LayerId] = []
    killed_there = 0
    for point in points(ast.literal_eval(told.err)):
        layer_id = make()
        ended = in_child(killed(point, functools.partial(action, layer_id)))
        # A call that fails has no moment after it.
        assert ended.code in (KILLED, 0), (point, ended)
        killed_there += ended.code == KILLED
        done.append(layer_id)
    assert killed_there > 6
    world.driver.remove(first)
    return done


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
@pytest.mark.parametrize("how", ["remove", "cleanup", "create"])
def test_killed_while_it_removes(world: World, image: LayerId, how: str) -> None:
    def make() -> LayerId:
        layer_id = world.container(image)
        with world.at(layer_id) as root:
            (root / "new").write_text("new")
        return layer_id

    def remove(layer_id: LayerId) -> int:
        world.again(sync=True).remove(layer_id)
        return 0

    layers = each_point(world, [*REMOVING], remove, make)
    whole = [layer for layer in layers if world.driver.exists(layer)]
    assert 0 < len(whole) < len(layers)
    for layer_id in whole:
        with world.at(layer_id) as root:
            assert (root / "new").read_text() == "new"
    finish(world, image, layers, how)
    assert names(world) == of(world, image)


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
@pytest.mark.parametrize("how", ["remove", "cleanup", "create"])
def test_killed_while_it_creates(world: World, image: LayerId, how: str) -> None:
    parents: Dict[LayerId, LayerId] = {}

    def make() -> LayerId:
        parent = world.container(image)
        with world.at(parent) as root:
            (root / "new").write_text("new")
        layer_id = new_id()
        parents[layer_id] = parent
        return layer_id

    def create(layer_id: LayerId) -> int:
        world.again(sync=True).create_read_write(layer_id, parents[layer_id])
        return 0

    layers = each_point(world, [*CREATING], create, make)
    whole = [layer for layer in layers if world.driver.exists(layer)]
    assert 0 < len(whole) < len(layers)
    for layer_id in whole:
        with world.at(layer_id) as root:
            assert (root / "new").read_text() == "new"
    finish(world, image, layers, how)
    assert names(world) == of(world, image, *parents.values())


def finish(world: World, parent: LayerId, layers: List[LayerId], how: str) -> None:
    """Come after somebody who was killed."""
    if how == "cleanup":
        world.driver.cleanup()
    for layer_id in layers:
        if how == "create" and not world.driver.exists(layer_id):
            world.driver.create_read_write(layer_id, parent)
            with world.at(layer_id) as root:
                assert (root / "dir" / "file").exists()
        if how != "cleanup" or world.driver.exists(layer_id):
            world.driver.remove(layer_id)


def test_what_cannot_be_made_leaves_nothing(
    world: World, image: LayerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = names(world)
    module = overlay1 if world.is_v1 else overlay2
    for name in ("create_file", "make_directory"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space"):
                world.container(image)
        assert names(world) == before


def test_others_are_left_alone(world: World, layer: LayerId) -> None:
    home = world.layout.home
    (home / "lost+found").mkdir()
    (home / "x-removing").mkdir()
    (home / "file").touch()
    before = set(home.iterdir())
    world.driver.cleanup()
    world.driver.remove(new_id())
    assert set(home.iterdir()) == before
