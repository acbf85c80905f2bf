"""A store goes to the plugin and comes back, whenever it is interrupted, and is what it was."""

from __future__ import annotations

import ast
import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import pytest

from ovl1.cli.main import run
from ovl1.errors import BrokenStore, HalfDone, Refused, WrongUsage
from ovl1.linux import mounts
from ovl1.model import Mount
from ovl1.plugin.adopt import adopt, adopted, undo, unfinished
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from tests.support.child import command, in_child
from tests.support.manifest import Entry, differences, manifest
from tests.support.moments import KILLED, counted, killed, points
from tests.support.store_builder import StoreBuilder, real_store

pytestmark = pytest.mark.needs("root")

CALLS = ("os.rename", "Path.unlink", "write_file", "sync_directory")
JOURNAL = ".ovl1-adopt"


class Place(NamedTuple):
    root: Path
    before: Dict[bytes, Entry]

    def is_as_before(self, *, times: bool = True) -> None:
        """All but the inodes of the containers' configurations, which are new files."""
        found = [
            line
            for line in differences(self.before, manifest(self.root))
            if not ("config.v2.json: inode " in line or (not times and ": mtime_ns " in line))
        ]
        assert found == []

    def drivers(self) -> List[str]:
        files = self.root.glob("containers/*/config.v2.json")
        return sorted(json.loads(file.read_text())["Driver"] for file in files)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = tmp_path / "docker"
    root.mkdir()
    builder = real_store(root)
    # Of another driver, and not to be touched.
    builder.container(next(iter(Store.open(root).images)), next(iter(Store.open(root).layers)))
    other = sorted(root.glob("containers/*/config.v2.json"))[-1]
    other.write_text(other.read_text().replace('"overlay"', '"btrfs"'))
    assert Place(root, {}).drivers() == ["btrfs", "overlay"]
    return Place(root, manifest(root))


def test_there_and_back(place: Place) -> None:
    done = adopt(place.root, OVERLAY)
    assert (done.old, done.new, len(done.containers), done.layout) == (
        "overlay",
        "ovl1",
        1,
        OVERLAY,
    )
    assert [(store.name, store.layout) for store in adopted(place.root)] == [("ovl1", OVERLAY)]
    assert place.drivers() == ["btrfs", "ovl1"]
    for name in ("overlay", "image/overlay", JOURNAL):
        assert not (place.root / name).exists()
    assert Store.of(Layout(place.root, "ovl1")).images
    undo(place.root)
    place.is_as_before()
    assert adopted(place.root) == []


def test_what_docker_has_done_meanwhile_comes_back_too(place: Place) -> None:
    adopt(place.root, OVERLAY, "mine")
    (gone,) = (path for path in place.root.glob("containers/*") if '"mine"' in config_of(path))
    new = gone.with_name("c" * 64)
    shutil.copytree(gone, new)
    (new / "config.v2.json").write_text(config_of(gone).replace(gone.name, new.name))
    shutil.rmtree(gone)
    undo(place.root, "mine")
    assert '"overlay"' in config_of(new)
    assert place.drivers() == ["btrfs", "overlay"]


def config_of(container: Path) -> str:
    return (container / "config.v2.json").read_text()


def test_the_other_layout(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, OVERLAY2)
    builder.image(builder.layer({"file": b"content"}), "app:1")
    before = manifest(tmp_path)
    assert adopt(tmp_path, OVERLAY2).layout == OVERLAY2
    assert [store.layout for store in adopted(tmp_path)] == [OVERLAY2]
    assert undo(tmp_path).new == OVERLAY2
    assert differences(before, manifest(tmp_path)) == []


def said(place: Place, *arguments: str) -> str:
    ended = in_child(command(place.root, *arguments))
    assert ended.code == 0, ended
    return ended.out


ADOPT, UNDO = ("adopt",), ("adopt", "--undo")


@pytest.mark.parametrize("way", [ADOPT, UNDO], ids=" ".join)
def test_killed_at_any_moment(place: Place, way: Tuple[str, ...], full: bool) -> None:
    """And so is what goes on from there, in either direction; then it gets to its end."""
    back = UNDO if way == ADOPT else ADOPT
    if way == UNDO:
        said(place, *ADOPT)
    told = in_child(counted(CALLS, command(place.root, *way)))
    assert told.code == 0, told
    said(place, *back)
    stops = points(ast.literal_eval(told.err[told.err.rindex("{") :]))
    assert len(stops) > 16
    for point in stops[:: 1 if full else 5]:
        for then in (way, back):
            # A call that fails has no moment after it.
            assert in_child(killed(point, command(place.root, *way))).code in (KILLED, 0), point
            if unfinished(place.root) is not None:
                assert "half-way" in said(place, "info", "--no-probe")
                assert in_child(killed(point, command(place.root, *then))).code in (KILLED, 0)
            arrive(place, then)
            arrive(place, back)
    arrive(place, UNDO)
    place.is_as_before(times=False)
    assert place.drivers() == ["btrfs", "overlay"]


def arrive(place: Place, way: Tuple[str, ...]) -> None:
    """Do it, if it has not been done to its end."""
    old, new = ("ovl1", "overlay") if way == UNDO else ("overlay", "ovl1")
    if unfinished(place.root) is not None or not (place.root / new).exists():
        said(place, *way)
    assert (place.root / new).is_dir()
    assert not (place.root / old).exists()
    assert unfinished(place.root) is None
    assert place.drivers() == ["btrfs", new]


def test_a_daemon_has_made_another_store_meanwhile(place: Place) -> None:
    in_child(killed(points({"os.rename": 3})[-1], command(place.root, "adopt")))
    assert unfinished(place.root) is not None
    other = place.root / "image" / "overlay"
    other.mkdir(exist_ok=True)
    with pytest.raises(HalfDone, match="both exist"):
        adopt(place.root, OVERLAY)
    other.rmdir()
    undo(place.root)
    assert place.drivers() == ["btrfs", "overlay"]


@pytest.mark.parametrize("name", ["overlay", "aufs", "", "..", "a/b", "Ovl1", "x.ovl1-old", "é"])
def test_names_that_cannot_be(place: Place, name: str) -> None:
    with pytest.raises(WrongUsage):
        adopt(place.root, OVERLAY, name)
    place.is_as_before()


def test_what_is_not_there(place: Place) -> None:
    attempts: List[Callable[[], object]] = [
        lambda: adopt(place.root, OVERLAY2),
        lambda: undo(place.root),
        lambda: undo(place.root, "another"),
    ]
    for attempt in attempts:
        with pytest.raises(WrongUsage, match="no store"):
            attempt()
    with pytest.raises(WrongUsage):
        adopt(place.root / "nowhere", OVERLAY)
    place.is_as_before()


def test_names_that_are_taken(place: Place) -> None:
    (place.root / "ovl1").mkdir()
    with pytest.raises(Refused, match="exists already"):
        adopt(place.root, OVERLAY)
    (place.root / "ovl1").rmdir()
    place.is_as_before(times=False)


def test_while_somebody_uses_it(place: Place) -> None:
    mounting = mounts.mounted(Mount("tmpfs", "tmpfs"), place.root / "volumes")
    with mounting, pytest.raises(Refused, match="in use"):
        adopt(place.root, OVERLAY)
    place.is_as_before()


def test_not_during_a_migration(place: Place) -> None:
    said(place, "migrate", "run")
    attempts: List[Callable[[], object]] = [
        lambda: adopt(place.root, OVERLAY2),
        lambda: undo(place.root),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="migration"):
            attempt()
    said(place, "migrate", "rollback")
    place.is_as_before()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"old": "../../etc"},
        {"new": "containers/x"},
        {"containers": ["../x"]},
        {"containers": 5},
        {"times": []},
    ],
)
def test_a_journal_that_is_not_ours(place: Place, change: Dict[str, Any]) -> None:
    good = {"version": 1, "old": "overlay", "new": "ovl1", "containers": [], "times": {}}
    (place.root / JOURNAL).write_text(json.dumps({**good, **change}))
    with pytest.raises(BrokenStore, match=JOURNAL):
        adopt(place.root, OVERLAY)
    (place.root / JOURNAL).unlink()
    place.is_as_before(times=False)


def test_info_says_what_engines_do(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    adopt(place.root, OVERLAY)
    assert run(["--data-root", os.fspath(place.root), "info", "--no-probe"]) == 0
    shown = capsys.readouterr().out
    assert "a plugin's, overlay" in shown
    assert "28 and later" in shown
    assert run(["--data-root", os.fspath(place.root), "info", "--no-probe", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["plugins"]
    assert found["stores"] == [{"name": "ovl1", "layout": "overlay"}]
