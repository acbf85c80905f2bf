"""Renamed directories and files without data: the kernel makes them, and the view must agree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

import pytest

from ovl1.errors import LayerError
from ovl1.linux.beneath import Directory
from ovl1.linux.mounts import mounted, overlay
from ovl1.tree.compare import view_differences
from ovl1.tree.marks import METACOPY, OPAQUE, REDIRECT
from ovl1.tree.view import Cursor, StackView
from tests.support import newer_kernels
from tests.support.newer_kernels import churn, shown, tree

pytestmark = pytest.mark.needs("root", "overlay", "metacopy")

LAYERS, STEPS = 4, 25


@pytest.fixture
def stack(tmp_path: Path) -> List[Path]:
    """An upper and a lower directory, and one to work in."""
    made = [tmp_path / name for name in ("upper", "lower", "work")]
    for path in made:
        path.mkdir()
    tree(made[1])
    return made


def view(*paths: Path) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def disagreements(layers: List[Path], kernels: Path) -> List[str]:
    """Where the view of `layers` is not what the kernel shows."""
    with view(*layers) as mine, view(kernels) as theirs:
        return [
            f"{b'/'.join(found.path)!r}: {found.what}" for found in view_differences(mine, theirs)
        ]


def test_the_view_is_what_the_kernel_shows(tmp_path: Path, full: bool) -> None:
    for seed in range(100 if full else 3):
        place = tmp_path / str(seed)
        place.mkdir()
        layer_upon_layer(place, seed)


def layer_upon_layer(place: Path, seed: int) -> None:
    """In each of them things are renamed and changed at random."""
    layers = [directory(place / "0")]
    tree(layers[0])
    marked = 0
    for number in range(1, LAYERS):
        upper, work = directory(place / str(number)), directory(place / f"work{number}")
        with newer_kernels.mounted(layers, upper, work, place / "merged") as merged:
            done = churn(merged, seed * LAYERS + number, STEPS)
        layers.insert(0, upper)
        top, work = directory(place / f"top{number}"), directory(place / f"work-top{number}")
        with newer_kernels.mounted(layers, top, work, place / "merged") as merged:
            assert disagreements([top, *layers], merged) == [], (seed, done)
        marked += sum(is_marked(path) for path in upper.rglob("*"))
    assert marked > 5, "there was something to follow"


def directory(path: Path) -> Path:
    path.mkdir()
    return path


def is_marked(path: Path) -> bool:
    return not {REDIRECT, METACOPY}.isdisjoint(os.listxattr(path, follow_symlinks=False))


def test_a_copy_holds_the_data(stack: List[Path], tmp_path: Path) -> None:
    upper, lower, work = stack
    with newer_kernels.mounted([lower], upper, work, tmp_path / "merged") as merged:
        (merged / "a" / "file").chmod(0o640)
        (merged / "a" / "file").rename(merged / "b" / "moved")
        expected = shown(merged)
    assert METACOPY in os.listxattr(upper / "b/moved")
    with view(upper, lower) as both, Cursor(both) as cursor:
        here = cursor.at((b"b",))
        source = here.source_of(b"moved", here.entries[b"moved"])
        assert source.lstat(b"moved").st_blocks == (lower / "a/file").stat().st_blocks > 0
        assert source.lstat(b"moved").st_mtime_ns == expected["b/moved"][2]
        with source.reading(b"moved") as fd:
            assert os.read(fd, 1 << 16) == expected["b/moved"][3]
        with Directory.open(tmp_path) as target, pytest.raises(OSError, match="cross-device"):
            target.link_from(source, b"moved", b"linked")


def test_data_that_are_lost_are_told(stack: List[Path]) -> None:
    upper, lower, _ = stack
    for stub in ("stub", "c"):
        (upper / stub).touch()
        os.setxattr(upper / stub, METACOPY, b"")
    with view(upper, lower) as both:
        here = both.root()
        for name in (b"stub", b"c"):
            with pytest.raises(LayerError, match="data is lost"):
                here.source_of(name, here.entries[name])
        here.close()


@pytest.mark.parametrize("mark", [b"../x", b"/a/../../x", b"a/b", b"/", b"", b"/a//b"])
def test_a_mark_that_leads_nowhere_is_refused(stack: List[Path], mark: bytes) -> None:
    upper, lower, _ = stack
    (upper / "new").mkdir()
    os.setxattr(upper / "new", REDIRECT, mark)
    with view(upper, lower) as both:
        root = both.root()
        with pytest.raises(LayerError, match="is no path"):
            root.child(b"new")
        root.close()


def test_a_link_on_the_way_is_not_followed(stack: List[Path], tmp_path: Path) -> None:
    upper, lower, _ = stack
    (tmp_path / "outside" / "secret").mkdir(parents=True)
    (lower / "way").symlink_to(tmp_path / "outside")
    (upper / "new").mkdir()
    os.setxattr(upper / "new", REDIRECT, b"/way/secret")
    with view(upper, lower) as both, both.root() as root, root.child(b"new") as new:
        assert len(new.stack) == 1


def test_in_the_lowest_layer_no_mark_means_anything(stack: List[Path]) -> None:
    _, lower, _ = stack
    os.setxattr(lower / "a", REDIRECT, b"/b")
    os.setxattr(lower / "b", OPAQUE, b"y")
    os.setxattr(lower / "a" / "file", METACOPY, b"")
    with view(lower) as alone, Cursor(alone) as cursor:
        os.close(cursor.open((b"a", b"file")))
        assert sum(1 for _ in alone.walk()) == 22


def test_without_such_marks_it_is_as_it_was(stack: List[Path], tmp_path: Path) -> None:
    upper, lower, work = stack
    (tmp_path / "merged").mkdir()
    with mounted(overlay([lower], upper, work), tmp_path / "merged"):
        churn(tmp_path / "merged", 1, STEPS)
        assert disagreements([upper, lower], tmp_path / "merged") == []
