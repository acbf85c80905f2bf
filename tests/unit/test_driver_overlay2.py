"""What only overlay2's layout has: short names, and ``lower`` files that hold them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import pytest

from ovl1.driver import overlay2
from ovl1.driver.opening import open_driver
from ovl1.driver.overlay2 import MAX_LOWERS, short_name
from ovl1.errors import BrokenStore, Refused
from ovl1.formats.tarstream import as_file
from ovl1.model import LayerId
from ovl1.store.trees import STACKED, read_trees
from tests.conformance.world import KINDS, World, new_id
from tests.support.layers import entry, make_tar

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (overlay2_kind,) = (kind for kind in KINDS if kind.name == "overlay2")
    made = World(overlay2_kind, tmp_path / "docker", tmp_path / "run")
    try:
        yield made
    finally:
        made.remove()


def stack(world: World, number: int) -> List[LayerId]:
    """Layers upon each other, the lowest first."""
    layers: List[LayerId] = []
    for each in range(number):
        layers.append(world.image(layers[-1] if layers else None, entry(f"file{each}")))
    return layers


def rename_links(world: World, layers: List[LayerId]) -> Dict[LayerId, str]:
    """Give the layers other short names, which tell nothing, as Docker draws them."""
    names = {}
    for number, layer in enumerate(layers):
        old, new = short_name(layer), "ABCDEFG"[number] * 26
        os.rename(world.layout.links / old, world.layout.links / new)
        world.layout.link(layer).write_text(new)
        for other in layers:
            lower = world.layout.lower(other)
            if lower.exists():
                lower.write_text(lower.read_text().replace(old, new))
        names[layer] = new
    return names


def test_lower_lists_all_that_is_below(world: World) -> None:
    one, two, three = stack(world, 3)
    expected = f"l/{short_name(two)}:l/{short_name(one)}"
    assert world.layout.lower(three).read_text() == expected
    assert not world.layout.lower(one).exists()
    assert world.layout.link(one).read_text() == short_name(one)
    assert os.readlink(world.layout.links / short_name(one)) == f"../{one}/diff"


def test_short_names_of_docker(world: World) -> None:
    layers = stack(world, 3)
    names = rename_links(world, layers)
    container = world.container(layers[2])
    lower = ":".join(f"l/{names[layer]}" for layer in reversed(layers))
    assert world.layout.lower(container).read_text() == lower
    with world.at(container) as root:
        assert sorted(os.listdir(root)) == ["file0", "file1", "file2"]
        (root / "new").touch()
    assert world.changes(container, layers[2]) == {"/new": 1}
    assert read_trees(world.layout).problems == []
    for layer in (container, *reversed(layers)):
        world.driver.remove(layer)
    assert os.listdir(world.layout.links) == []


def test_a_link_that_leads_elsewhere(world: World) -> None:
    (base,) = stack(world, 1)
    container = world.container(base)
    link = world.layout.links / short_name(base)
    for target in ("/etc", "../../../etc/diff", f"../{base}/root", f"../{base}/../x/diff"):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(BrokenStore):
            world.driver.get(container)
    link.unlink()
    with pytest.raises(BrokenStore, match="no link"):
        world.driver.get(container)
    assert world.mounted() == []


def test_a_link_in_the_way(world: World) -> None:
    """A crash may leave one that leads nowhere; another's is not taken."""
    layer_id = new_id()
    link = world.layout.links / short_name(layer_id)
    link.symlink_to(f"../{layer_id}/diff")
    world.driver.create(layer_id, None)
    assert os.readlink(link) == f"../{layer_id}/diff"
    other = new_id()
    taken = world.layout.links / short_name(other)
    taken.symlink_to(f"../{layer_id}/diff")
    with pytest.raises(FileExistsError):
        world.driver.create(other, None)
    assert not world.driver.exists(other)
    assert os.readlink(taken) == f"../{layer_id}/diff"


def test_cleanup_removes_what_leads_nowhere(world: World) -> None:
    (base,) = stack(world, 1)
    links, gone = world.layout.links, new_id()
    for name, target in (
        ("A", f"../{gone}/diff"),
        ("B", f"../{base}/diff"),
        ("C", "/etc"),
        ("D", "../../etc/diff"),
    ):
        os.symlink(target, links / (name * 26))
    (links / ("E" * 26)).touch()
    world.driver.cleanup()
    expected = {short_name(base), *(letter * 26 for letter in "BCDE")}
    assert set(os.listdir(links)) == expected


def test_there_is_a_limit_of_layers(world: World) -> None:
    one, two = stack(world, 2)
    lower = world.layout.lower(two)
    lower.write_text(":".join([lower.read_text()] * (MAX_LOWERS - 1)))
    world.driver.create(new_id(), two)
    lower.write_text(":".join([lower.read_text(), f"l/{short_name(one)}"]))
    before = sorted(os.listdir(world.layout.home)), sorted(os.listdir(world.layout.links))
    with pytest.raises(Refused, match="max depth"):
        world.driver.create(new_id(), two)
    after = sorted(os.listdir(world.layout.home)), sorted(os.listdir(world.layout.links))
    assert after == before


def test_a_diff_against_its_own_parent_is_its_own_directory(world: World) -> None:
    """As Docker's overlay2 writes it: opaque directories stay opaque."""
    base = world.image(None, entry("dir/", b"5"), entry("dir/old"))
    container = world.container(base)
    with world.at(container) as root:
        (root / "dir" / "old").unlink()
        (root / "dir").rmdir()
        (root / "dir").mkdir()
        (root / "dir" / "new").touch()
    native = b"".join(world.driver.diff(container, base))
    assert b"dir/.wh..wh..opq" in native
    whole = b"".join(world.driver.diff(container, None))
    assert b".wh." not in whole
    for tar, parent in ((native, base), (whole, None)):
        copy = world.empty(parent)
        world.driver.apply_diff(copy, parent, io.BytesIO(tar))
        with world.at(copy) as root:
            assert os.listdir(root / "dir") == ["new"]


def test_a_diff_against_what_is_further_below(world: World) -> None:
    """As ``docker build --squash`` asks for."""
    layers = stack(world, 4)
    parents: List[Optional[LayerId]] = [layers[0], layers[1]]
    for parent in parents:
        copy = world.empty(parent)
        world.driver.apply_diff(copy, parent, as_file(world.driver.diff(layers[3], parent)))
        assert world.shown(copy).keys() == world.shown(layers[3]).keys()


def test_a_store_that_was_made_at_once(tmp_path: Path) -> None:
    """`create_layer` makes what the driver then works with."""
    driver = open_driver(tmp_path, "overlay2", runtime=tmp_path / "run", sync=False)
    base, top = new_id(), new_id()
    for layer, lowers in ((base, []), (top, [base])):
        overlay2.create_layer(
            driver.layout,
            layer,
            lowers,
            mode=0o710,
            owner=(0, 0),
            root_pair=(0, 0),
            has_children=layer == base,
        )
    (driver.layout.diff(base) / "file").touch()
    assert os.listdir(driver.get(top)) == ["file"]
    driver.put(top)
    assert {tree.kind for tree in read_trees(driver.layout).trees.values()} == {STACKED}
    with pytest.raises(Refused, match="filled already"):
        driver.apply_diff(base, None, make_tar([]))
