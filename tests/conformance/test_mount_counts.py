"""Mounts are counted, by every process that asks for one, and outlive them all."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Callable, List

import pytest

from ovl1.errors import BrokenStore, NotPossibleHere, WrongUsage
from ovl1.linux import mounts
from ovl1.model import LayerId
from tests.conformance.world import World, assert_soon, new_id
from tests.support.child import in_child, running
from tests.support.layers import entry, make_tar


@pytest.fixture
def image(world: World) -> LayerId:
    return world.image(None, entry("dir/", b"5"), entry("dir/file", data=b"content"))


@pytest.fixture
def layer(world: World, image: LayerId) -> LayerId:
    return world.container(image)


def test_the_last_put_unmounts(world: World, layer: LayerId) -> None:
    merged = world.layout.merged(layer)
    assert not merged.exists()
    for _ in range(3):
        assert world.driver.get(layer) == merged
        assert world.mounted() == [merged]
    assert (merged / "dir" / "file").read_bytes() == b"content"
    for _ in range(2):
        world.driver.put(layer)
        assert world.mounted() == [merged]
    world.driver.put(layer)
    assert world.mounted() == []
    assert not merged.exists()


def test_the_mount_point_is_not_for_everybody(world: World, layer: LayerId) -> None:
    merged = world.layout.merged(layer)
    world.driver.get(layer)
    mounts.umount(merged)
    assert merged.stat().st_mode & 0o7777 == 0o700
    world.driver.put(layer)


def test_put_too_often(world: World, layer: LayerId) -> None:
    world.driver.put(layer)
    world.driver.put(new_id())
    world.driver.get(layer)
    for _ in range(3):
        world.driver.put(layer)
    world.driver.get(layer)
    assert len(world.mounted()) == 1
    world.driver.put(layer)
    assert world.mounted() == []


def test_a_single_directory_needs_no_mount(world: World, image: LayerId) -> None:
    """And to put it must not count against anybody else (moby e4349ad901)."""
    place = world.layout.root(image) if world.is_v1 else world.layout.diff(image)
    for _ in range(2):
        assert world.driver.get(image) == place
    for _ in range(3):
        world.driver.put(image)
    assert world.mounted() == []


def test_other_processes_count_too(world: World, layer: LayerId) -> None:
    world.driver.get(layer)

    def get() -> int:
        world.again().get(layer)
        return 0

    assert in_child(get).code == 0
    world.driver.put(layer)
    assert len(world.mounted()) == 1
    world.again().put(layer)
    assert world.mounted() == []


def test_a_mount_outlives_its_process(world: World, layer: LayerId) -> None:
    def get() -> int:
        path = world.again().get(layer)
        (path / "written").write_text("text")
        return 0

    assert in_child(get).code == 0
    merged = world.layout.merged(layer)
    assert world.mounted() == [merged]
    assert (merged / "written").read_text() == "text"
    world.again().put(layer)
    assert world.mounted() == []


def test_a_mount_that_nobody_recorded_counts_one(world: World, layer: LayerId) -> None:
    """As for a daemon that finds its containers running (moby, counter.go)."""
    world.driver.get(layer)
    shutil.rmtree(world.runtime)
    again = world.again()
    again.get(layer)
    again.put(layer)
    assert len(world.mounted()) == 1
    again.put(layer)
    assert world.mounted() == []

    world.driver.get(layer)
    shutil.rmtree(world.runtime)
    world.again().put(layer)
    assert world.mounted() == []


def test_a_record_without_a_mount_counts_nothing(world: World, layer: LayerId) -> None:
    for _ in range(3):
        world.driver.get(layer)
    mounts.umount(world.layout.merged(layer))
    assert world.driver.get(layer) == world.layout.merged(layer)
    world.driver.put(layer)
    assert world.mounted() == []


def test_the_record_of_another_mount_counts_nothing(world: World, layer: LayerId) -> None:
    merged = world.layout.merged(layer)
    for _ in range(3):
        world.driver.get(layer)
    # While the first one is in use, its device number is not given to the second.
    with (merged / "dir" / "file").open():
        mounts.detach(merged)
        lower, upper, work, other = (world.data_root / name for name in "luwo")
        for path in (lower, upper, work, other):
            path.mkdir()
        mounts.mount(mounts.overlay([lower], upper, work), merged)
        world.driver.put(layer)
        assert world.mounted() == []


def test_a_torn_record_is_none(world: World, layer: LayerId) -> None:
    world.driver.get(layer)
    (record,) = world.locks()
    record.write_bytes(b"7 ")
    world.driver.put(layer)
    assert world.mounted() == []


def test_many_at_once(world: World, layer: LayerId) -> None:
    def work() -> int:
        driver = world.again()
        for _ in range(5):
            path = driver.get(layer)
            assert (path / "dir" / "file").read_bytes() == b"content"
            driver.put(layer)
        return 0

    failed: List[BaseException] = []

    def thread(action: Callable[[], int]) -> None:
        try:
            action()
        except BaseException as err:  # noqa: BLE001 - told to the test's own thread
            failed.append(err)

    with running(work) as one, running(work) as two:
        threads = [threading.Thread(target=thread, args=(work,)) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for child in (one, two):
            ended = child.wait()
            assert ended.code == 0, ended.err
    assert failed == []
    assert world.mounted() == []
    assert world.locks() == []


def test_a_layer_is_locked_while_it_is_filled(world: World, image: LayerId) -> None:
    layer_id = world.empty(image)
    reading, writing = os.pipe()
    tar = make_tar([entry("new", data=b"new" * 5000)]).read()

    def fill() -> int:
        os.close(writing)
        with open(reading, "rb", closefd=False) as file:
            world.again().apply_diff(layer_id, image, file)
        return 0

    got: List[Path] = []
    with running(fill) as child, open(writing, "wb") as file:
        file.write(tar[:9000])
        file.flush()
        assert_soon(lambda: any(world.layout.layer(layer_id).glob("tmproot*")))
        thread = threading.Thread(target=lambda: got.append(world.driver.get(layer_id)))
        thread.start()
        time.sleep(0.1)
        assert got == []
        file.write(tar[9000:])
        file.close()
        assert child.wait().code == 0
        thread.join()
    os.close(reading)
    assert (got[0] / "new").stat().st_size == 15000
    world.driver.put(layer_id)


def test_a_busy_mount_is_put_all_the_same(world: World, layer: LayerId) -> None:
    """Lazily: whoever has it open goes on, and nobody else finds it (moby f65fa1f115)."""
    merged = world.driver.get(layer)
    with (merged / "dir" / "file").open() as file:
        world.driver.put(layer)
        assert world.mounted() == []
        assert not merged.exists()
        assert file.read() == "content"


def test_the_same_path_again(world: World, layer: LayerId) -> None:
    with world.at(layer) as one:
        (one / "kept").write_text("kept")
    with world.at(layer) as two:
        assert (two / "kept").read_text() == "kept"
    assert one == two


def test_cleanup_unmounts_everything_of_ours(world: World, image: LayerId) -> None:
    for _ in range(3):
        layer_id = world.container(image)
        world.driver.get(layer_id)
        world.driver.get(layer_id)
    other = world.layout.home / "not-a-layer"
    other.mkdir()
    lower, upper, work = (world.data_root / name for name in ("l", "u", "w"))
    for path in (lower, upper, work):
        path.mkdir()
    with mounts.mounted(mounts.overlay([lower], upper, work), other):
        world.driver.cleanup()
        assert world.mounted() == [other]
    world.driver.cleanup()


def test_what_cannot_be_mounted_leaves_nothing(world: World, layer: LayerId) -> None:
    shutil.rmtree(world.layout.work(layer))
    with pytest.raises(BrokenStore, match="not whole"):
        world.driver.get(layer)
    world.layout.work(layer).write_text("no directory")
    with pytest.raises(NotPossibleHere):
        world.driver.get(layer)
    assert world.mounted() == []
    assert not world.layout.merged(layer).exists()
    assert world.locks() == []


def test_a_label_is_no_way_in(world: World, layer: LayerId) -> None:
    for label in ('x",upperdir="/etc', "a b", "x\n"):
        with pytest.raises(WrongUsage):
            world.driver.get(layer, label)
    assert world.mounted() == []


@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="this kernel has SELinux")
def test_a_label_where_there_are_none(world: World, layer: LayerId) -> None:
    with pytest.raises(NotPossibleHere):
        world.driver.get(layer, "system_u:object_r:container_file_t:s0:c1,c2")
    assert not world.layout.merged(layer).exists()


def test_no_such_layer(world: World) -> None:
    with pytest.raises(BrokenStore, match="no layer"):
        world.driver.get(new_id())
    assert world.locks() == []
