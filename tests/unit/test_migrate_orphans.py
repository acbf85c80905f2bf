"""On what a layer stood that nothing refers to any more: told by the inodes that it shares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Dict, List, Optional

import pytest

from ovl1.driver.convert import Conversion, conversions
from ovl1.driver.overlay2 import MAX_LOWERS
from ovl1.migrate.orphans import find_parents
from ovl1.model import ChainId, LayerId
from tests.support.store_builder import StoreBuilder, write, write_tree

ORPHANS = [LayerId(digit * 64) for digit in "cba"]


class Trees:
    """Layers made as Docker makes them: of links to the files of those below."""

    def __init__(self, builder: StoreBuilder) -> None:
        self.builder, self.layout = builder, builder.layout

    def layer(self, name: str, parent: Optional[ChainId] = None) -> ChainId:
        chain = self.builder.layer({name: b""}, parent)
        layer = self.builder.cache_ids[chain]
        shutil.rmtree(self.layout.root(layer))
        if parent is not None:
            self.clone(self.builder.cache_ids[parent], layer)
        self.fill(layer, name)
        return chain

    def clone(self, below: LayerId, layer: LayerId) -> None:
        source, target = self.layout.root(below), self.layout.root(layer)
        shutil.copytree(source, target, symlinks=True, copy_function=os.link)

    def fill(self, layer: LayerId, name: str) -> None:
        root = self.layout.root(layer)
        write_tree(root, {f"{name}/{number}": b"" for number in range(3)})
        (root / name / "link").symlink_to(name)

    def orphan(self, layer: LayerId, below: Optional[LayerId], name: str) -> LayerId:
        if below is not None:
            self.clone(below, layer)
        self.fill(layer, name)
        return layer

    def parents(self, known: Optional[List[Conversion]] = None) -> Dict[LayerId, Optional[LayerId]]:
        store = self.builder.open()
        return find_parents(store, conversions(store) if known is None else known)


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(StoreBuilder(tmp_path))


def test_the_layer_below_and_not_one_beside_it(trees: Trees) -> None:
    base = trees.layer("base")
    below = trees.layer("below", base)
    trees.layer("beside", below)
    expected = trees.builder.cache_ids[below]
    orphan = trees.orphan(ORPHANS[0], expected, "orphan")
    (trees.layout.root(orphan) / "base/0").unlink()
    assert trees.parents() == {orphan: expected}


def test_orphans_on_each_other(trees: Trees) -> None:
    """Never does each stand on the other."""
    base = trees.builder.cache_ids[trees.layer("base")]
    below: Optional[LayerId] = base
    for orphan in ORPHANS:
        below = trees.orphan(orphan, below, f"in-{orphan[0]}")
    found = trees.parents()
    assert found == {ORPHANS[0]: base, ORPHANS[1]: ORPHANS[0], ORPHANS[2]: ORPHANS[1]}
    assert list(found) == ORPHANS
    made = conversions(trees.builder.open(), found)[1:]
    assert [len(layer.lowers) for layer in made] == [1, 2, 3]
    assert not any(layer.own_copy for layer in made)


@pytest.mark.parametrize("younger", [0, 1])
def test_the_older_one_is_below(trees: Trees, younger: int) -> None:
    """Where by their names either could be."""
    base = trees.builder.cache_ids[trees.layer("base")]
    first, second = ORPHANS[1 - younger], ORPHANS[younger]
    trees.orphan(first, base, "first")
    trees.clone(first, second)
    (trees.layout.root(second) / "first/0").unlink()
    (trees.layout.root(second) / "first/new").touch()
    for time_ns, orphan in enumerate((first, second)):
        os.utime(trees.layout.layer(orphan), ns=(time_ns, time_ns))
    assert trees.parents() == {first: base, second: first}


def test_one_that_shares_only_names(trees: Trees) -> None:
    trees.layer("base")
    orphan = trees.orphan(ORPHANS[0], None, "base")
    assert trees.parents() == {orphan: None}


def test_a_chain_that_is_full(trees: Trees) -> None:
    """One layer more could not be mounted."""
    base = trees.layer("base")
    top = trees.builder.cache_ids[trees.layer("top", base)]
    orphan = trees.orphan(ORPHANS[0], top, "orphan")
    first, last = conversions(trees.builder.open())
    deep = Conversion(last.layer_id, last.kind, last.of, last.lowers * MAX_LOWERS, None)
    assert trees.parents([first, last]) == {orphan: top}
    assert trees.parents([first, deep]) == {orphan: first.layer_id}


def test_changes_name_what_they_are_over(trees: Trees) -> None:
    base = trees.builder.cache_ids[trees.layer("base")]
    over, lost = LayerId("d" * 64), LayerId("e" * 64)
    for orphan, below in ((over, ORPHANS[0]), (lost, LayerId("f" * 64))):
        write_tree(trees.layout.upper(orphan), {"new": b""})
        write(trees.layout.lower_id(orphan), below)
    trees.orphan(ORPHANS[0], base, "orphan")
    assert trees.parents() == {ORPHANS[0]: base, over: ORPHANS[0]}


def test_without_orphans_nothing_is_read(trees: Trees) -> None:
    layer = trees.builder.cache_ids[trees.layer("base")]
    known = conversions(trees.builder.open())
    shutil.rmtree(trees.layout.root(layer))
    assert trees.parents(known) == {}
