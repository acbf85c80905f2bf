"""What only the v1 layout has: complete trees, ``lower-id``, and both beside each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.errors import BrokenStore, Refused
from ovl1.model import LayerId
from tests.conformance.world import KINDS, World, new_id
from tests.support.layers import entry, make_tar

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (overlay_kind,) = (kind for kind in KINDS if kind.name == "overlay")
    made = World(overlay_kind, tmp_path / "docker", tmp_path / "run")
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def image(world: World) -> LayerId:
    return world.image(None, entry("dir/", b"5"), entry("dir/file", data=b"content"))


def test_files_are_shared_and_directories_are_not(world: World, image: LayerId) -> None:
    child = world.image(image, entry("new"))
    below, above = world.layout.root(image), world.layout.root(child)
    assert (below / "dir" / "file").samefile(above / "dir" / "file")
    assert not (below / "dir").samefile(above / "dir")


def test_a_root_counts_whatever_is_beside_it(world: World, image: LayerId) -> None:
    """A daemon that was killed at the end of an apply leaves such a layer."""
    layer = world.image(image, entry("new"))
    place = world.layout.layer(layer)
    for name in ("upper", "work", "merged", "tmproot123"):
        (place / name).mkdir()
    (place / "upper" / "old").touch()
    (place / "lower-id").write_text(image)
    assert world.driver.get(layer) == place / "root"
    assert world.mounted() == []
    assert world.changes(layer, image) == {"/new": 1}
    assert world.driver.metadata(layer) == {"RootDir": f"{place}/root"}
    with pytest.raises(Refused, match="filled already"):
        world.driver.apply_diff(layer, image, make_tar([]))
    container = world.container(layer)
    assert world.layout.lower_id(container).read_text() == layer
    world.driver.remove(layer)
    assert not place.exists()


def test_put_of_a_root_unmounts_nothing(world: World, image: LayerId) -> None:
    """Not even what somebody has mounted there (moby e4349ad901)."""
    container = world.container(image)
    world.driver.get(container)
    for _ in range(3):
        world.driver.put(image)
    assert world.mounted() == [world.layout.merged(container)]
    world.driver.put(container)


def test_a_container_over_a_container_lies_over_the_same_image(
    world: World, image: LayerId
) -> None:
    one = world.container(image)
    two = world.container(one)
    three = world.container(two)
    for layer in (one, two, three):
        assert world.layout.lower_id(layer).read_bytes() == image.encode()


def test_a_container_of_an_older_docker(world: World, image: LayerId) -> None:
    """With its modes and its permanent mount point."""
    layer = world.container(image)
    place = world.layout.layer(layer)
    place.chmod(0o700)
    (place / "lower-id").chmod(0o644)
    (place / "merged").mkdir(0o700)
    with world.at(layer) as root:
        assert (root / "dir" / "file").exists()
    assert not (place / "merged").exists()
    with world.at(layer) as root:
        assert (root / "dir" / "file").exists()


def test_a_parent_that_is_not_whole(world: World, image: LayerId) -> None:
    parent = world.container(image)
    world.layout.lower_id(parent).unlink()
    before = os.listdir(world.layout.home)
    with pytest.raises(BrokenStore):
        world.driver.create(new_id(), parent)
    with pytest.raises(BrokenStore):
        world.driver.metadata(parent)
    assert os.listdir(world.layout.home) == before
    world.driver.remove(parent)


def test_what_was_written_to_a_layer_before_it_is_filled_is_lost(
    world: World, image: LayerId
) -> None:
    """As in Docker: the parent and the tar make the layer."""
    layer = world.empty(image)
    with world.at(layer) as root:
        (root / "written").touch()
    world.driver.apply_diff(layer, image, make_tar([entry("new")]))
    with world.at(layer) as root:
        assert sorted(os.listdir(root)) == ["dir", "new"]
