"""What belongs into a layer's diff, case by case; the laws are in tests/property."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import pytest

from ovl1.errors import LayerError
from ovl1.layer.build import Built, build, count
from ovl1.layer.delta import (
    DIFFERENT,
    LISTED,
    ON_THE_WAY,
    TIME_ONLY,
    Absent,
    Enter,
    Entry,
    Event,
    Leave,
    Whiteout,
    delta,
)
from ovl1.layer.listing import Listed, Listing
from ovl1.linux.beneath import Directory
from ovl1.numberset import NumberSet
from ovl1.tree.marks import OPAQUE
from ovl1.tree.view import StackView

Tree = Dict[str, Optional[str]]
"""Paths; None is a directory, a text a file's content."""


def make(root: Path, tree: Tree, parent: Optional[Path] = None) -> Path:
    """A tree with all times equal; a file whose content is the parent's is a link to it."""
    root.mkdir()
    for path, content in tree.items():
        target = root / path
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        before = parent / path if parent is not None else None
        if before is not None and before.is_file() and before.read_text() == content:
            os.link(before, target)
        else:
            target.write_text(content)
    for directory, _, _ in os.walk(root):
        os.utime(directory, ns=(0, 0))
    return root


def told(events: Sequence[Event]) -> List[str]:
    lines, path = [], []
    for event in events:
        if isinstance(event, Enter):
            path.append(event.name.decode())
            if event.name:
                lines.append(f"{'/'.join(path[1:])}/{' opaque' * event.opaque} {_mark(event)}")
        elif isinstance(event, Leave):
            path.pop()
        else:
            kind = {Entry: "", Whiteout: "-", Absent: "?"}[type(event)]
            name = "/".join([*path[1:], event.name.decode()])
            lines.append(f"{kind}{name}" + ("" if kind == "?" else f" {_mark(event)}"))
    return lines


def _mark(event: Event) -> str:
    reasons = {LISTED: "listed", ON_THE_WAY: "way", DIFFERENT: "differs", TIME_ONLY: "time"}
    return reasons[getattr(event, "reason", DIFFERENT)]


BASE: Tree = {"a/x": "1", "a/y": "2", "b/z/w": "3", "f": "4"}

CASES: List[Tuple[str, Tree, Tree, Optional[List[str]], List[str]]] = [
    ("nothing changed, nothing listed", BASE, BASE, None, []),
    ("an empty layer", BASE, BASE, [], []),
    (
        "without a tar, the trees tell",
        BASE,
        {"a/x": "1", "a/y": "new", "b/z/w": "3", "g": "5"},
        None,
        ["a/ differs", "a/y differs", "-f differs", "g differs"],
    ),
    (
        "a listed entry is there though it is the same, as docker load has it",
        BASE,
        BASE,
        ["a/", "a/x", "b/z/w"],
        ["a/ listed", "a/x listed", "b/ way", "b/z/ way", "b/z/w listed"],
    ),
    (
        "a file removed",
        BASE,
        {"a/x": "1", "b/z/w": "3", "f": "4"},
        ["a/.wh.y"],
        ["a/ way", "-a/y listed"],
    ),
    ("a directory removed", BASE, {"a/x": "1", "a/y": "2", "f": "4"}, [".wh.b"], ["-b listed"]),
    ("what was never there removed", BASE, BASE, [".wh.nothing"], ["-nothing listed"]),
    (
        "removed and made again: what was in it must not come back",
        BASE,
        {"a/x": "1", "a/y": "2", "b/new": "5", "f": "4"},
        [".wh.b", "b/", "b/new"],
        ["b/ opaque listed", "b/new listed"],
    ),
    (
        "an opaque directory",
        BASE,
        {"a/new": "5", "b/z/w": "3", "f": "4"},
        ["a/", "a/.wh..wh..opq", "a/new"],
        ["a/ opaque listed", "a/new listed"],
    ),
    (
        "an opaque directory that lists itself nowhere else",
        BASE,
        {"a": None, "b/z/w": "3", "f": "4"},
        ["a/.wh..wh..opq"],
        ["a/ opaque way"],
    ),
    (
        "a directory becomes a file",
        BASE,
        {"a": "5", "b/z/w": "3", "f": "4"},
        ["a"],
        ["a listed"],
    ),
    (
        "a file becomes a directory",
        BASE,
        {"a/x": "1", "a/y": "2", "b/z/w": "3", "f/new": "5"},
        ["f/", "f/new"],
        ["f/ listed", "f/new listed"],
    ),
    (
        "listed, but removed again by the same tar",
        BASE,
        BASE,
        ["gone"],
        ["?gone"],
    ),
    (
        "AUFS leftovers mean nothing",
        BASE,
        BASE,
        [".wh..wh.plnk/1.2", ".wh..wh.aufs"],
        [],
    ),
]


@pytest.mark.parametrize(("old", "new", "names", "expected"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_delta(
    tmp_path: Path, old: Tree, new: Tree, names: Optional[List[str]], expected: List[str]
) -> None:
    parent = make(tmp_path / "old", old)
    layer = make(tmp_path / "new", new, parent)
    with view(layer) as after, view(parent) as before:
        found = told(list(delta(after, before, None if names is None else listed(names))))
    assert found == expected


def listed(names: List[str]) -> Listed:
    """Few enough names that nothing is open."""
    return Listing(map(str.encode, names)).root


def view(*paths: Path) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def test_a_time_that_docker_made_up_is_kept_or_left_out(tmp_path: Path) -> None:
    parent, layer = make(tmp_path / "old", BASE), tmp_path / "new"
    make(layer, BASE, parent)
    os.utime(layer / "b", ns=(0, 10**18))
    for keep, expected in ((True, ["b/ time"]), (False, [])):
        with view(layer) as new, view(parent) as old:
            assert told(list(delta(new, old, None, keep_directory_times=keep))) == expected


@pytest.mark.needs("root")
def test_a_device_0_0_of_the_image_hides_as_it_does_in_a_mount(tmp_path: Path) -> None:
    parent = make(tmp_path / "old", BASE)
    layer = make(tmp_path / "new", BASE, parent)
    (layer / "f").unlink()
    for name in ("f", "dev"):
        os.mknod(layer / name, stat.S_IFCHR, os.makedev(0, 0))
    with view(layer) as new, view(parent) as old:
        found = told(list(delta(new, old, listed(["f", "dev"]))))
    assert found == ["-dev listed", "-f listed"]


def test_a_whiteout_of_nothing_is_refused() -> None:
    with pytest.raises(LayerError, match="whiteout of nothing"):
        listed(["a/.wh."])


@pytest.mark.needs("root")
def test_building_makes_what_counting_told(tmp_path: Path) -> None:
    parent = make(tmp_path / "old", BASE)
    layer = make(tmp_path / "new", {"a/new": "5", "b/z/w": "3"}, parent)
    os.link(layer / "a/new", layer / "a/second")
    os.utime(layer / "a", ns=(0, 0))
    names = [".wh.a", "a/", "a/new", "a/second", ".wh.f"]
    made = {}
    for own_copy in (False, True):
        target = tmp_path / f"diff-{own_copy}"
        target.mkdir()
        with view(layer) as new, view(parent) as old, Directory.open(target) as directory:
            linked = NumberSet()
            told_before = count(delta(new, old, listed(names)), linked, own_copy=own_copy)
            made[own_copy] = build(delta(new, old, listed(names)), directory, own_copy=own_copy)
        assert made[own_copy] == told_before
        assert os.getxattr(target / "a", OPAQUE) == b"y"
        assert stat.S_ISCHR((target / "f").lstat().st_mode)
        same = (target / "a/new").stat().st_ino == (layer / "a/new").stat().st_ino
        assert same != own_copy
        assert (target / "a/new").samefile(target / "a/second")
        assert len(linked) == (0 if own_copy else 1)
    assert made[False] == Built(directories=1, linked=2, whiteouts=1)
    assert (made[True].copied, made[True].relinked) == (1, 1)
