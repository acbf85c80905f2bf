"""Removing images: whenever it is killed, the store is the old one or the new one, never half."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.images import pending
from ovl1.images.verify import verify_layer
from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import COMMITTED, OVERLAY, OVERLAY2
from ovl1.store.writer import create_store
from tests.support import archives
from tests.support.archive_members import LAYERS, docker, packed
from tests.support.child import in_child
from tests.support.image_cli import Ovl1
from tests.support.manifest import Entry, differences
from tests.support.moments import KILLED, Point, counted, killed, points

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

WRONG = 2
NAMES = ("app:1", "app:2", "registry.example:5000/team/app:1")
REMOVE = ("image", "rm", *NAMES)
CALLS = (
    *("append_line", "write_file", "os.rename", "sync_directory", "sync_file_system"),
    *("rmtree", "Path.unlink", "Directory.unlink"),
)


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def ovl1(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ovl1]:
    with loop_file_system("ext4", tmp_path, 128 << 20, inodes=8192) as disk:
        made = Ovl1(disk / "docker", request.param, tmp_path / "run")
        create_store(made.layout)
        before = tmp_path / "before.tar"
        before.write_bytes(packed(docker(layers=LAYERS[:1], names=["before:1"])))
        (tmp_path / "app.tar").write_bytes(packed(docker(names=NAMES)))
        made("image", "load", str(before))
        yield made


def load(ovl1: Ovl1) -> None:
    ovl1("image", "load", str(ovl1.runtime.with_name("app.tar")))


def paths(ovl1: Ovl1) -> Set[str]:
    """Everything below the data-root, but for a mark that stays when a layer lost its children."""
    root = ovl1.data_root
    return {os.fspath(path.relative_to(root)) for path in root.rglob("*") if path.name != COMMITTED}


def is_sound(ovl1: Ovl1) -> None:
    store = ovl1.store()
    assert store.problems == ()
    assert store.orphans() == []
    assert all(verify_layer(store, record).ok for record in store.layers.values())


def outcome(ovl1: Ovl1, old: Dict[bytes, Entry], without: Set[str], point: object) -> str:
    """Which of the two stores it is, once the next command has looked after it."""
    pending.recover(driver(ovl1))
    is_sound(ovl1)
    if ovl1.store().references.tags_of(ovl1.store().image("before:1").image_id) != ["before:1"]:
        return "half"
    if set(NAMES) <= set(ovl1.store().references.tags):
        assert differences(old, ovl1.manifest()) == [], point
        return "old"
    assert paths(ovl1) == without, point
    return "new"


def driver(ovl1: Ovl1) -> Driver:
    return open_driver(ovl1.data_root, ovl1.driver, runtime=ovl1.runtime, sync=False)


def test_a_kill_leaves_the_old_store_or_the_new_one(ovl1: Ovl1, full: bool) -> None:
    without = paths(ovl1)
    load(ovl1)
    ended = in_child(counted(CALLS, ovl1.action(*REMOVE)))
    assert ended.code == 0, ended
    assert paths(ovl1) == without
    calls: Dict[str, int] = json.loads(ended.err.splitlines()[-1].replace("'", '"'))
    assert all(calls[name] for name in CALLS if name != "append_line"), calls
    outcomes: List[str] = []
    for point in chosen(points(calls), full):
        load(ovl1)
        old = ovl1.manifest()
        ended = in_child(killed(point, ovl1.action(*REMOVE)))
        # What was called may have failed, as deleting what is not there does.
        assert ended.code == KILLED or (ended.code, point.when) == (0, "after"), (point, ended)
        outcomes.append(outcome(ovl1, old, without, point))
    assert set(outcomes) == {"old", "new"}


def chosen(every: List[Point], full: bool) -> List[Point]:
    return every if full else every[:: max(1, len(every) // 16)]


def test_a_kill_while_it_is_finished(ovl1: Ovl1, full: bool) -> None:
    without = paths(ovl1)
    load(ovl1)
    # The notes are written, and nothing else is done.
    first = Point("sync_directory", 1, "after")
    # Whatever comes next finishes it first.
    look = ovl1.action("image", "rm", "nothing:1")
    ended = in_child(killed(first, ovl1.action(*REMOVE)))
    assert ended.code == KILLED
    ended = in_child(counted(CALLS, look))
    calls: Dict[str, int] = json.loads(ended.err.splitlines()[-1].replace("'", '"'))
    assert paths(ovl1) == without
    for point in chosen(points(calls), full):
        load(ovl1)
        assert in_child(killed(first, ovl1.action(*REMOVE))).code == KILLED
        assert in_child(killed(point, look)).code in (KILLED, WRONG)
        assert outcome(ovl1, {}, without, point) == "new"


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[:2], ("before:1",)])
def test_a_kill_while_names_are_taken_away(ovl1: Ovl1, names: List[str]) -> None:
    load(ovl1)
    before = set(ovl1.store().references.tags)
    for number in range(3):
        in_child(killed(Point("write_file", number, "after"), ovl1.action("image", "rm", *names)))
        pending.recover(driver(ovl1))
        is_sound(ovl1)
        left = set(ovl1.store().references.tags)
        assert left in (before, before - set(names))


def test_the_rest_is_untouched(ovl1: Ovl1) -> None:
    old = ovl1.manifest()
    load(ovl1)
    said = ovl1.json(*REMOVE)
    assert sorted(said["untagged"]) == sorted(NAMES)
    assert (len(said["images"]), len(said["layers"])) == (1, 2)
    now = ovl1.manifest()
    passing = os.fsencode(ovl1.layout.repositories.relative_to(ovl1.data_root.resolve()))
    told = [line for line in differences(old, now) if not line.startswith(os.fsdecode(passing))]
    # The base layer's files were linked to by those above it, and are not any more.
    assert [line for line in told if not line.endswith(f"{COMMITTED}: new")] == []


def test_what_it_says_is_what_came_free(ovl1: Ovl1) -> None:
    os.sync()
    before = os.statvfs(ovl1.data_root)
    load(ovl1)
    os.sync()
    used = before.f_ffree - os.statvfs(ovl1.data_root).f_ffree
    said = ovl1.json(*REMOVE)
    # What stays is the mark on the base layer that it has had children.
    mark = 1 if ovl1.driver == OVERLAY2 else 0
    assert said["inodes"] == used - mark
    assert said["inodes"] > 10
    assert said["bytes"] > 300_000
    assert said["dry_run"] is False


def test_a_dry_run_says_the_same_and_does_nothing(ovl1: Ovl1) -> None:
    load(ovl1)
    before = ovl1.manifest()
    planned = ovl1.json(*REMOVE, "--dry-run")
    shown = ovl1(*REMOVE, "--dry-run").out
    assert differences(before, ovl1.manifest()) == []
    assert shown.count("Would remove") == 3 + 1 + 2
    done = ovl1.json(*REMOVE)
    for key in ("untagged", "images", "layers", "kept"):
        assert planned[key] == done[key]


def test_layers_that_buildkit_remembers_are_kept(ovl1: Ovl1) -> None:
    load(ovl1)
    store = ovl1.store()
    middle = store.chain(store.image("app:1"))[1]
    place = ovl1.data_root / "buildkit"
    place.mkdir()
    (place / "snapshots.db").write_bytes(b"\0" * 100 + middle.chain_id.encode() + b"\1" * 100)
    ovl1(*REMOVE)
    assert middle.chain_id in ovl1.store().layers
    assert len(ovl1.store().layers) == 2
    is_sound(ovl1)


def test_a_layer_that_a_tree_stands_on_is_kept(ovl1: Ovl1) -> None:
    load(ovl1)
    store = ovl1.store()
    top = store.chain(store.image("app:1"))[0]
    own = ovl1("layer", "create", "--parent", top.cache_id, "--read-write").out.strip()
    ovl1(*REMOVE)
    assert len(ovl1.store().layers) == 3
    assert ovl1("layer", "changes", own).out == ""
    ovl1("layer", "rm", own)


def test_a_layer_that_is_mounted_is_not_removed(ovl1: Ovl1) -> None:
    if ovl1.driver == OVERLAY:
        pytest.skip("its image layers are complete trees, which nobody mounts")
    load(ovl1)
    store = ovl1.store()
    top = store.chain(store.image("app:1"))[0].cache_id
    where = ovl1("layer", "mount", top).out.strip()
    try:
        before = set(store.references.tags)
        error = ovl1.error(*REMOVE)
        assert error["details"] == where
        assert f"ovl1 layer umount {top[:12]}" in error["resolution"]
        assert set(ovl1.store().references.tags) == before
    finally:
        ovl1("layer", "umount", top)
    ovl1(*REMOVE)
    is_sound(ovl1)


def test_a_name_that_it_got_meanwhile_saves_an_image(ovl1: Ovl1) -> None:
    """An engine ran between the kill and the next command, and knows the image by now."""
    path = ovl1.runtime.with_name("app.tar")
    load(ovl1)
    ovl1(*REMOVE)
    calls = json.loads(
        in_child(counted(("append_line",), ovl1.action("image", "load", str(path))))
        .err.splitlines()[-1]
        .replace("'", '"')
    )
    ovl1(*REMOVE)
    last = Point("append_line", calls["append_line"] - 1, "before")
    assert in_child(killed(last, ovl1.action("image", "load", str(path)))).code == KILLED
    image_id = archives.digest(archives.config_of(LAYERS))
    names = json.loads(ovl1.layout.repositories.read_text())
    names["Repositories"]["pulled"] = {"pulled:1": image_id}
    ovl1.layout.repositories.write_text(json.dumps(names))
    pending.recover(driver(ovl1))
    is_sound(ovl1)
    assert len(ovl1.store().chain(ovl1.store().image("pulled:1"))) == 3
