"""Sweeping over many trees: every inode once, and the same figures whoever counts what."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovl1.inodes.links import Linked, nearest
from ovl1.inodes.scan import Scanner
from ovl1.inodes.sweep import Place, Sweep
from ovl1.inodes.tally import Counts, Row, Tally, total
from ovl1.linux.beneath import Directory
from tests.support.child import NOBODY, in_child

Tree = Dict[str, Tuple[str, int]]
"""Kind and number by path; files and symlinks of one number are one inode."""


def plainly(tops: List[Path]) -> Set[int]:
    """All inodes of some trees."""
    inodes = {top.stat().st_ino for top in tops}
    for top in tops:
        for directory, subdirectories, names in os.walk(top):
            for name in subdirectories + names:
                inodes.add(os.lstat(os.path.join(directory, name)).st_ino)
    return inodes


def make(top: Path, tree: Tree, pool: Path) -> None:
    top.mkdir()
    for name, (kind, number) in sorted(tree.items()):
        path = top / name
        if any(parent.is_symlink() or parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            continue
        origin = pool / f"{kind}-{number}"
        if kind == "dir":
            path.mkdir()
        elif not os.path.lexists(origin):
            origin.symlink_to("x") if kind == "symlink" else origin.touch()
        if kind != "dir":
            os.link(origin, path, follow_symlinks=False)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
ITEMS = st.tuples(st.sampled_from(["file", "file", "symlink", "dir"]), st.integers(0, 5))
TREES = st.lists(st.dictionaries(PATHS, ITEMS, max_size=12), min_size=1, max_size=5)


@contextlib.contextmanager
def layers(trees: List[Tree]) -> Iterator[Tuple[Path, List[Path]]]:
    """A directory with one for each tree in it, in a ``root`` each; they share inodes."""
    with tempfile.TemporaryDirectory() as name:
        root, pool = Path(name, "root"), Path(name, "pool")
        root.mkdir()
        pool.mkdir()
        tops = [root / str(number) for number in range(len(trees))]
        for top, tree in zip(tops, trees):
            top.mkdir()
            make(top / "root", tree, pool)
        yield root, tops


@settings(max_examples=30)
@given(trees=TREES, workers=st.integers(1, 3), again=st.booleans())
def test_every_inode_is_counted_once(trees: List[Tree], workers: int, again: bool) -> None:
    """Whoever scans which of several trees that share inodes, and however alike they are."""
    trees = trees + trees if again else trees
    with layers(trees) as (root, tops):
        with Directory.open(root) as directory:
            places = [Place((os.fsencode(top.name),), trees=frozenset([b"root"])) for top in tops]
            tally, counts = Tally(), Counts()
            for seen in Sweep(directory, depth=2).run(places, workers):
                counts += total(tally.add(seen.around))
                counts += sum((total(tally.add(tree)) for tree in seen.trees), Counts())
                assert not seen.around.moving
        assert counts.inodes == len(plainly(tops))
        walked = [entry for top in tops for entry in os.walk(top)]
        assert counts.directories == len(walked)
        # A link to a directory is no directory.
        entries = sum(len(names) + len(below) for _, below, names in walked)
        assert counts.names == entries - len(walked) + len(tops)


Figures = Tuple[List[Dict[bytes, Row]], List[Tuple[str, int, int]], List[str]]


def figures(root: Path, places: Sequence[Place], workers: int) -> Figures:
    """All that a report is made of."""
    tally = Tally()
    rows: List[Dict[bytes, Row]] = []
    linked: List[Linked] = []
    unreadable: List[bytes] = []
    with Directory.open(root) as directory:
        for seen in Sweep(directory, depth=2).run(places, workers):
            linked += [each for each in seen.linked if each.inode not in tally]
            for found in (seen.around, *seen.trees):
                rows.append(tally.add(found))
                unreadable += found.unreadable
    chosen = [(each.path, each.names, each.links) for each in nearest(linked, None, 100)]
    return rows, chosen, sorted(map(os.fsdecode, unreadable))


def places_of(tops: Sequence[Path], kin: Sequence[bytes]) -> List[Place]:
    trees = frozenset([b"root"])
    return [Place((os.fsencode(top.name),), trees=trees, kin=word) for top, word in zip(tops, kin)]


@settings(max_examples=20)
@given(trees=TREES, kin=st.lists(st.sampled_from([b"", b"one", b"two"]), min_size=5, max_size=5))
def test_who_counts_changes_no_figure(trees: List[Tree], kin: List[bytes]) -> None:
    """Names of one file in what different processes count, in one layer and in several."""
    with layers(trees) as (root, tops):
        places = places_of(tops, kin)
        alone = figures(root, places, 1)
        assert figures(root, places, 2) == alone
        assert figures(root, places, 3) == alone


def layers_of_many_directories(root: Path) -> List[Path]:
    """A small layer, and two large ones of which the second one is made of links; one file has a
    name in each directory."""
    tops = [root / name for name in ("small", "large", "linked")]
    (tops[0] / "root" / "a" / "b" / "c1").mkdir(parents=True)
    (tops[0] / "root" / "a" / "b" / "c1" / "f").touch()
    for top in tops[1:]:
        for number in range(300):
            below = top / "root" / f"a{number % 7}" / f"b{number % 13}" / f"c{number}"
            (below / "d").mkdir(parents=True)
            (below / "own").symlink_to("nowhere")
            if top == tops[1]:
                (below / "d" / "f").touch()
            else:
                origin = tops[1] / below.relative_to(top)
                os.link(origin / "d" / "f", below / "d" / "f")
            common = tops[1] / "root" / "a0" / "b0" / "c0" / "d" / "f"
            os.link(common, below / "common")
    return tops


def test_processes_share_each_layer(tmp_path: Path) -> None:
    root = tmp_path / "root"
    tops = layers_of_many_directories(root)
    for kin in ([b"base"] * 3, [b"small", b"base", b"base"], [b""] * 3):
        places = places_of(tops, kin)
        alone = figures(root, places, 1)
        for workers in (2, 3, 5):
            rows, linked, unreadable = figures(root, places, workers)
            assert (rows, unreadable) == (alone[0], alone[2])
            # Of files with equally many names only some are looked at.
            most = max(linked, key=lambda each: each[1])
            assert most == max(alone[1], key=lambda each: each[1])
            assert most[1:] == (301, 602)


def test_both_processes_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is first: neither waits for the other, or does it all."""
    root = tmp_path / "root"
    tops = layers_of_many_directories(root)
    pids = tmp_path / "pids"
    pids.mkdir()
    real = Scanner._visit

    def visit(self: Scanner, *arguments: Any) -> Any:
        with open(pids / str(os.getpid()), "ab") as file:
            file.write(b".")
        time.sleep(0.0002)
        return real(self, *arguments)

    monkeypatch.setattr(Scanner, "_visit", visit)
    figures(root, places_of(tops, [b"base"] * 3), 2)
    one, other = (path.stat().st_size for path in pids.iterdir())
    assert min(one, other) > max(one, other) / 8
    # Few are looked at by both: not more than the upper ones.
    assert one + other <= 2 * 600 + 3 + 2 * 3 * (1 + 1 + 7 + 7 * 13)


def test_without_files_in_memory_each_layer_is_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    places = places_of(layers_of_many_directories(root), [b"base"] * 3)
    alone = figures(root, places, 1)
    monkeypatch.delattr(os, "memfd_create")
    assert figures(root, places, 2)[0] == alone[0]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_what_may_not_be_read_is_told_once(tmp_path: Path, workers: int) -> None:
    root = tmp_path / "root"
    places = places_of(layers_of_many_directories(root), [b"base"] * 3)
    hidden = ["large/root/a1", "large/root/a2/b2", "linked/root/a0/b0/c0/d", "small/root"]
    for path in hidden:
        (root / path).chmod(0)

    def look() -> int:
        os.chdir(root)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        assert figures(Path(), places, workers)[2] == sorted(hidden)
        return 0

    assert in_child(look) == (0, "", "")
