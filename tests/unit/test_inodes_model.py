"""The trees in memory, against the same random layers applied for real: to the inode."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Callable, List, Sequence, Set

import pytest
from hypothesis import given

from ovl1.errors import LayerError
from ovl1.formats import tarstream
from ovl1.formats.tarheader import TarEntry
from ovl1.inodes.lineage import DOCKER_OVERLAY, IDEAL, LAYOUTS, OVERLAY, OVERLAY2, VFS, Lineages
from tests.property.apply_layers import BASE, layers
from tests.property.apply_model import Item
from tests.property.apply_trees import scratch, tar_of, to_diff, to_root, views

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(1200)]


def headers(tar: BinaryIO) -> List[TarEntry]:
    return [entry for entry, _ in tarstream.entries(tar)]


def inodes(path: Path) -> Set[int]:
    found = {path.lstat().st_ino}
    for directory, below, files in os.walk(os.fsencode(path)):
        found.update(os.lstat(os.path.join(directory, name)).st_ino for name in below + files)
    return found


def agree(
    lines: Lineages,
    layout: str,
    number: int,
    items: Sequence[Item],
    make: Callable[[BinaryIO], None],
) -> int:
    """Apply a layer twice: for real, and in memory; what the latter comes to, -1 if refused."""
    parent = str(number - 1) if number else None
    figures = lines.add(str(number), parent, headers(tar_of(items)))
    try:
        make(tar_of(items))
    except LayerError:
        assert layout in lines.refused
        return -1
    assert layout not in lines.refused
    return figures[layout]


@given(layers(), layers())
def test_a_complete_tree_takes_what_is_foretold(first: List[Item], second: List[Item]) -> None:
    with scratch() as name:
        lines, known = Lineages([OVERLAY]), set()  # type: ignore[var-annotated]
        stack: List[Path] = []
        for number, items in enumerate((BASE, first, second)):
            made, below = Path(name) / str(number), stack[-1] if stack else None
            told = agree(lines, OVERLAY, number, items, lambda tar: to_root(tar, below, made))  # noqa: B023
            if told < 0:
                return
            now = inodes(made)
            assert len(now - known) == told
            known |= now
            stack.append(made)


@given(layers(), layers())
def test_a_diff_takes_what_is_foretold(first: List[Item], second: List[Item]) -> None:
    with scratch() as name:
        lines = Lineages([OVERLAY2])
        stack: List[Path] = []
        for number, items in enumerate((BASE, first, second)):
            made = Path(name) / str(number)
            told = agree(lines, OVERLAY2, number, items, lambda tar: to_diff(tar, stack, made))  # noqa: B023
            if told < 0:
                return
            assert len(inodes(made)) - 1 == told
            stack.insert(0, made)


@pytest.mark.parametrize("driver", [OVERLAY, OVERLAY2])
@given(layers(), layers())
def test_a_tree_on_the_disk_is_as_good_as_its_tar(
    driver: str, first: List[Item], second: List[Item]
) -> None:
    """Whoever stands on a layer takes the same, whether that was foretold or is there."""
    layouts = (OVERLAY, IDEAL) if driver == OVERLAY else (OVERLAY2,)
    with scratch() as name:
        whole, read = Lineages(layouts), Lineages(layouts)
        trees = [Path(name) / "0", Path(name) / "1"]
        try:
            if driver == OVERLAY:
                to_root(tar_of(BASE), None, trees[0])
                to_root(tar_of(first), trees[0], trees[1])
            else:
                to_diff(tar_of(BASE), [], trees[0])
                to_diff(tar_of(first), trees[:1], trees[1])
        except LayerError:
            return
        whole.add("0", None, headers(tar_of(BASE)))
        whole.add("1", "0", headers(tar_of(first)))
        with views(trees[1:] if driver == OVERLAY else trees[::-1]) as (view,):
            read.read("1", view, driver)
        if whole.refused:
            return
        expected = whole.add("2", "1", headers(tar_of(second)))
        assert read.add("2", "1", headers(tar_of(second))) == expected


@given(layers())
def test_layouts_are_in_order(items: List[Item]) -> None:
    lines = Lineages()
    for number, each in enumerate((BASE, items)):
        figures = lines.add(str(number), str(number - 1) if number else None, headers(tar_of(each)))
    assert set(figures) | set(lines.refused) == set(LAYOUTS)
    if OVERLAY in figures and VFS in figures:
        assert figures[IDEAL] <= figures[OVERLAY]
        assert figures[DOCKER_OVERLAY] <= figures[VFS]


def test_versions_share_what_did_not_change() -> None:
    lines = Lineages([OVERLAY])
    lines.add("0", None, headers(tar_of(BASE)))
    lines.add("1", "0", headers(tar_of([Item("file", ("b", "new"), (), 0)])))
    below, above = lines.tree(OVERLAY, "0"), lines.tree(OVERLAY, "1")
    assert below is not None
    assert above is not None
    assert below.tree is not None
    assert above.tree is not None
    assert below.tree.entries[b"a"] is above.tree.entries[b"a"]
    assert below.tree.entries[b"b"] is not above.tree.entries[b"b"]
