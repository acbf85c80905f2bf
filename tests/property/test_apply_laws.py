"""Laws of applying layers: a simple model in memory, and the two layouts, agree on random tars."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import assume, given

from ovl1.errors import LayerError
from ovl1.layer.diff import diff, native_diff
from ovl1.tree.copy import copy_directory_metadata
from tests.property.apply_layers import BASE, WITHOUT_HARD_LINKS, layers
from tests.property.apply_model import Item, Model
from tests.property.apply_trees import (
    comparable,
    directories,
    is_directory,
    mounted_view,
    same_but_for_links,
    scratch,
    tar_of,
    to_diff,
    to_root,
    ungrouped,
    views,
)
from tests.support import hostile_tar
from tests.support.layers import snapshot
from tests.support.trees import Seen, shown

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(1200)]


@given(layers(), layers())
def test_a_complete_tree_is_what_the_model_says(first: List[Item], second: List[Item]) -> None:
    with scratch() as name:
        base, model = Path(name), Model()
        stack: List[Path] = []
        for number, items in enumerate((BASE, first, second)):
            model = Model(model)
            before = list(map(snapshot, stack))
            made = base / str(number)
            to_root(tar_of(model.apply(items)), stack[0] if stack else None, made)
            assert list(map(snapshot, stack)) == before
            assert comparable(shown(made), model.listed) == comparable(model.shown(), model.listed)
            stack.insert(0, made)


@given(layers())
def test_what_the_model_does_not_allow_is_refused(items: List[Item]) -> None:
    model = Model()
    model.apply(BASE)
    model = Model(model)
    refused = next((n for n, item in enumerate(items) if not model.apply([item])), len(items))
    assume(refused < len(items))
    with scratch() as name:
        below = Path(name) / "below"
        to_root(tar_of(BASE), None, below)
        before = snapshot(below)
        with pytest.raises(LayerError):
            to_root(tar_of(items[: refused + 1]), below, Path(name) / "0")
        assert snapshot(below) == before


@given(layers(), layers())
@pytest.mark.needs("overlay")
def test_diffs_show_what_the_model_says(first: List[Item], second: List[Item]) -> None:
    with scratch() as name:
        base, model = Path(name), Model()
        stack: List[Path] = []
        for number, items in enumerate((BASE, first, second)):
            model = Model(model)
            done = model.apply(items, overlay=True)
            before = list(map(snapshot, stack))
            to_diff(tar_of(done), stack, base / str(number))
            assert list(map(snapshot, stack)) == before
            stack.insert(0, base / str(number))
            same_but_for_links(mounted_view(stack, base), model.shown(), model.listed)


@given(layers(WITHOUT_HARD_LINKS), layers(WITHOUT_HARD_LINKS))
@pytest.mark.needs("overlay")
def test_a_mounted_upper_shows_what_the_complete_tree_has(
    first: List[Item], second: List[Item]
) -> None:
    """Without hard links: in an upper, all inodes may change, in a complete tree only new ones."""
    with scratch() as name:
        base = Path(name)
        whole, upper = base / "root", base / "upper"
        to_root(tar_of(BASE), None, whole)
        upper.mkdir()
        with directories(whole, upper) as (there, here):
            copy_directory_metadata(there, here)
        model = Model()
        model.apply(BASE)
        for number, items in enumerate((first, second)):
            model = Model(model)
            done = model.apply(items)
            to_root(tar_of(done), whole, base / f"root{number}")
            whole = base / f"root{number}"
            to_diff(tar_of(done), [base / "root"], upper, mounted=True)
            same_but_for_links(mounted_view([upper, base / "root"], base), shown(whole), set())


@given(layers())
def test_compression_makes_no_difference(items: List[Item]) -> None:
    pytest.importorskip("zstandard")
    model = Model()
    model.apply(BASE)
    model = Model(model)
    tar = tar_of(model.apply(items)).read()
    with scratch() as name:
        base = Path(name)
        to_root(tar_of(BASE), None, base / "below")
        for number, data in enumerate((tar, gzip.compress(tar, 1), hostile_tar.zstd(tar))):
            to_root(io.BytesIO(data), base / "below", base / str(number))
            made = comparable(shown(base / str(number)), model.listed)
            assert made == comparable(model.shown(), model.listed)


@given(layers())
def test_what_has_been_applied_can_be_written_and_applied_again(items: List[Item]) -> None:
    with scratch() as name:
        base, model = Path(name), Model()
        to_root(tar_of(model.apply(BASE)), None, base / "below")
        model = Model(model)
        to_root(tar_of(model.apply(items)), base / "below", base / "root")
        whole = shown(base / "root")
        with views([base / "root"], [base / "below"]) as (new, old):
            tar, full = b"".join(diff(new, old)), b"".join(diff(new, None))
        to_root(io.BytesIO(full), None, base / "copy")
        assert written(shown(base / "copy"), {}) == written(whole, {})
        below = shown(base / "below")
        to_root(io.BytesIO(tar), base / "below", base / "again")
        again = written(shown(base / "again"), below)
        # That a link of unchanged files has been made or undone is no change.
        assert ungrouped(again) == ungrouped(written(whole, below))


@given(layers(), layers())
@pytest.mark.needs("overlay")
def test_an_overlay_directory_can_be_written_and_applied_again(
    first: List[Item], second: List[Item]
) -> None:
    with scratch() as name:
        base, model = Path(name), Model()
        stack: List[Path] = []
        for number, items in enumerate((BASE, first, second)):
            model = Model(model)
            done = model.apply(items, overlay=True)
            to_diff(tar_of(done), stack, base / str(number))
            stack.insert(0, base / str(number))
        below = mounted_view(stack[1:], base)
        whole = written(mounted_view(stack, base), below)
        with directories(stack[0]) as (upper,):
            native = b"".join(native_diff(upper))
        with views(stack, stack[1:]) as (new, old):
            compared = b"".join(diff(new, old))
        for how, tar in (("native", native), ("compared", compared)):
            to_diff(io.BytesIO(tar), stack[1:], base / how)
            again = written(mounted_view([base / how, *stack[1:]], base), below)
            assert ungrouped(again) == ungrouped(whole)
            if how == "native":
                same_but_for_links(again, whole, set())


def written(tree: Dict[bytes, Seen], below: Dict[bytes, Seen]) -> Dict[bytes, Seen]:
    """Without what a layer cannot say: the root's metadata, and that a directory, which merges
    with that below it, has lost an attribute."""
    kept = comparable(tree, set())
    del kept[b"."]
    for path, seen in kept.items():
        if is_directory(seen) and path in below and is_directory(below[path]):
            lost = set(below[path].xattrs)
            kept[path] = seen._replace(xattrs=tuple(x for x in seen.xattrs if x not in lost))
    return kept


def test_the_model_can_be_contradicted(tmp_path: Path) -> None:
    item = Item("file", ("a",), (), 1)
    model = Model()
    model.apply([item])
    to_root(tar_of([item]), None, tmp_path / "t")
    assert comparable(shown(tmp_path / "t"), set()) == comparable(model.shown(), set())
    os.chmod(tmp_path / "t/a", 0o600)
    assert comparable(shown(tmp_path / "t"), set()) != comparable(model.shown(), set())
