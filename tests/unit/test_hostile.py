"""The catalogue of odd and hostile layers: each shows what it must or is refused, without harm.

Around the tree lie files that the names in the tars reach for, and other layers lie below it.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import pytest

from ovl1.errors import LayerError
from ovl1.layer.apply import apply_to_diff, apply_to_root
from ovl1.layer.policy import Policy
from ovl1.linux.beneath import Directory
from ovl1.tree.view import StackView
from tests.conformance.world import KINDS, Kind, World
from tests.support import hostile_tar as t
from tests.support.hostile import CASES
from tests.support.hostile_case import (
    Case,
    Refused,
    Shows,
    Tree,
    differences,
    expected,
    tree,
    ungrouped,
    without_inodes,
)
from tests.support.hostile_names import PARENT
from tests.support.hostile_view import mounted, shown
from tests.support.manifest import Entry, manifest

pytestmark = pytest.mark.needs("root")


class Arena:
    """A tree to be filled, layers below it, and what lies around."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.around = base / "around"
        self.target = self.around / "a" / "b" / "target"
        self.target.mkdir(parents=True)
        for place in (self.around, self.around / "a", self.around / "a/b"):
            (place / "canary").write_bytes(b"canary")
            (place / "etc").mkdir()
            (place / "etc/passwd").write_bytes(b"not yours")
            os.setxattr(place / "canary", "user.canary", b"yes")
        self.below: List[Path] = []
        """Topmost first."""

    def surroundings(self) -> Dict[bytes, Entry]:
        """Everything around, links counted."""
        found = manifest(self.around)
        del found[b"a/b/target"]
        return found

    def layers(self) -> List[Tree]:
        return [tree(layer) for layer in self.below]

    def clear(self) -> None:
        """Empty the target and the layers below; some trees are too deep for Python's means."""
        for place in (self.target, *self.below):
            if any(place.iterdir()):
                subprocess.run(["find", str(place), "-mindepth", "1", "-delete"], check=True)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """With a check that nothing around has changed, and no descriptor is left open."""
    made = Arena(tmp_path)
    around, descriptors = made.surroundings(), os.listdir("/proc/self/fd")
    yield made
    made.clear()
    assert made.surroundings() == around
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def _policy(case: Case) -> Policy:
    return Policy() if case.limit is None else Policy(max_bytes=case.limit)


def to_root(tar: bytes, arena: Arena, target: Path, policy: Policy) -> None:
    """Over the topmost layer below, which is a whole tree."""
    below = Directory.open(arena.below[0]) if arena.below else None
    try:
        with Directory.open(target) as directory:
            apply_to_root(io.BytesIO(tar), below, directory, policy=policy)
    finally:
        if below is not None:
            below.close()


def to_diff(
    tar: bytes, arena: Arena, target: Path, policy: Policy, *, mounted: bool = False
) -> None:
    """Over all layers below, which are only differences."""
    below = _view(arena.below)
    try:
        with Directory.open(target) as directory:
            apply_to_diff(io.BytesIO(tar), below, directory, policy=policy, mounted=mounted)
    finally:
        if below is not None:
            below.close()


def to_mount(tar: bytes, arena: Arena, target: Path, policy: Policy) -> None:
    """As `to_diff`, with the links below in view."""
    to_diff(tar, arena, target, policy, mounted=True)


def _view(layers: Sequence[Path]) -> Optional[StackView]:
    return StackView([Directory.open(layer) for layer in layers]) if layers else None


def _shown(layers: Sequence[Path]) -> Tree:
    view = _view(layers)
    assert view is not None
    with view:
        return shown(view)


Apply = Callable[[bytes, Arena, Path, Policy], None]


def _below(case: Case, arena: Arena, apply: Apply) -> None:
    for number, layer in enumerate(case.parent):
        target = arena.base / f"below-{number}"
        target.mkdir()
        apply(layer, arena, target, Policy())
        arena.below.insert(0, target)


Look = Callable[[Sequence[Path]], Tree]


def check(case: Case, arena: Arena, apply: Apply, look: Look) -> Tuple[Tree, Tree]:
    """What must be there and what is; both are empty if the case was refused as it should be."""
    _below(case, arena, apply)
    before = arena.layers()
    if isinstance(case.expected, Refused):
        with pytest.raises(LayerError) as caught:
            apply(case.made(), arena, arena.target, _policy(case))
        assert case.expected.text in str(caught.value)
        found, wanted = {}, {}
    else:
        empty = {b"": tree(arena.target)[b""]}
        apply(case.made(), arena, arena.target, _policy(case))
        found = look([arena.target, *arena.below])
        wanted = expected(look(arena.below) if arena.below else empty, case.expected)
    assert arena.layers() == before
    return wanted, found


@pytest.mark.parametrize("name", CASES)
def test_as_a_complete_tree(name: str, arena: Arena) -> None:
    wanted, found = check(CASES[name], arena, to_root, lambda layers: tree(layers[0]))
    assert differences(wanted, found) == {}


def _as_diff(name: str) -> Union[Refused, Shows]:
    return CASES[name].diff or CASES[name].expected


@pytest.mark.parametrize("name", CASES)
def test_as_an_overlay_directory(name: str, arena: Arena) -> None:
    case = CASES[name]._replace(expected=_as_diff(name))
    wanted, found = check(case, arena, to_diff, _shown)
    assert differences(ungrouped(wanted, found), found) == {}


@pytest.mark.needs("overlay")
@pytest.mark.parametrize("name", [name for name in CASES if isinstance(_as_diff(name), Shows)])
def test_as_the_kernel_shows_an_overlay_directory(name: str, arena: Arena) -> None:
    case = CASES[name]._replace(expected=_as_diff(name))
    wanted, found = check(case, arena, to_diff, lambda layers: mounted(layers, arena.base))
    assert differences(ungrouped(without_inodes(wanted), found), found) == {}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.diff])
def test_as_into_a_mount(name: str, arena: Arena) -> None:
    wanted, found = check(CASES[name], arena, to_mount, _shown)
    assert differences(ungrouped(wanted, found), found) == {}


def _reaching(at: bytes) -> Dict[str, bytes]:
    """Ways to get at a file outside by its absolute path."""
    over = t.symlink(b"l", os.path.dirname(at))
    link = t.symlink(b"l", at)
    return {
        "name": t.member(at),
        "folder": t.folder(at + b"/"),
        "over a link": over + t.member(b"l/canary"),
        "in place of a link": link + t.member(b"./l", data=b"x"),
        "whiteout over a link": over + t.member(b"l/.wh.canary"),
        "opaque over a link": over + t.member(b"l/.wh..wh..opq"),
        "hard link": t.hardlink(b"x", at),
        "hard link to a link": link + t.hardlink(b"x", b"l", mode=0o777),
        "hard link over a link": over + t.hardlink(b"x", b"l/canary"),
        "attribute over a link": link + t.xattr(b"user.canary", b"no") + t.hardlink(b"x", b"l"),
        "whiteout": t.member(os.path.dirname(at) + b"/.wh.canary"),
        "opaque": t.member(os.path.dirname(at) + b"/.wh..wh..opq"),
    }


@pytest.mark.parametrize("apply", [to_root, to_diff])
@pytest.mark.parametrize("how", _reaching(b""))
def test_an_absolute_path_means_one_in_the_tree(how: str, apply: Apply, arena: Arena) -> None:
    tar = t.tar(_reaching(os.fsencode(arena.around / "canary"))[how])
    try:
        apply(tar, arena, arena.target, Policy())
    except LayerError:
        return
    assert all(node.data != b"canary" for node in tree(arena.target).values())


CUT = t.tar(
    t.folder(b"d/"),
    t.member(b"d/file", data=b"x" * 600),
    t.pax({b"path": b"d/" + b"n" * 120}),
    t.member(b"q"),
    t.long_name(b"d/" + b"t" * 120, t.LONG_LINK),
    t.symlink(b"d/link", b"q"),
)


def test_an_archive_cut_anywhere_is_refused_or_shows_its_first_entries(arena: Arena) -> None:
    whole = [b"d", b"d/file", b"d/" + b"n" * 120, b"d/link"]
    for length in range(0, len(CUT), 3):
        place = arena.base / f"cut-{length}"
        place.mkdir()
        try:
            to_root(CUT[:length], arena, place, Policy())
        except LayerError:
            shutil.rmtree(place)
            continue
        names = tree(place).keys() - {b""}
        assert names == set(whole[: len(names)])
        if b"d/file" in names:
            assert (place / "d/file").stat().st_size == 600
        shutil.rmtree(place)


@pytest.mark.needs("overlay")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_a_driver_keeps_nothing_of_what_it_refuses(kind: Kind, tmp_path: Path) -> None:
    world = World(kind, tmp_path / "docker", tmp_path / "run")
    try:
        parent = world.empty()
        world.driver.apply_diff(parent, None, io.BytesIO(PARENT))
        over = {(): (world.empty(), None), (PARENT,): (world.empty(parent), parent)}
        before = _everything(world.data_root)
        for name, case in CASES.items():
            expected = (case.diff if kind.name == "overlay2" else None) or case.expected
            if isinstance(expected, Refused):
                driver = world.again(policy=_policy(case))
                with pytest.raises(LayerError):
                    driver.apply_diff(*over[case.parent], io.BytesIO(case.made()))
                assert _everything(world.data_root) == before, name
        for layer, below in over.values():
            world.driver.apply_diff(layer, below, io.BytesIO(t.tar(t.member(b"good"))))
            assert b"good" in world.shown(layer)
    finally:
        world.remove()


def _everything(root: Path) -> Dict[bytes, Entry]:
    """All that a store has, but for the times of directories."""
    return {
        path: entry._replace(mtime_ns=0) if stat.S_ISDIR(entry.mode) else entry
        for path, entry in manifest(root).items()
    }
