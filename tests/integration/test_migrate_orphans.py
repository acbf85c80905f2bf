"""Layers that nothing refers to: left behind and told, or taken along, there and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.model import ChainId, LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from tests.support.child import command, in_child
from tests.support.inplace import plain_differences
from tests.support.inplace_stores import make_anew
from tests.support.layers import entry
from tests.support.manifest import Entry, differences, manifest
from tests.support.moments import BEFORE, KILLED, Point, killed
from tests.support.store_builder import StoreBuilder, real_store
from tests.support.stores_shown import shown_by_overlay, shown_by_overlay2
from tests.support.used import plainly_counted

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

MODES = {"side by side": [], "in place": ["--in-place"], "elsewhere": ["--to"]}


class Lost(NamedTuple):
    """A store with orphans, and what each of them stood on."""

    root: Path
    to: Path
    orphans: Dict[LayerId, Optional[LayerId]]
    before: Dict[bytes, Entry]

    def options(self, mode: str) -> List[str]:
        return ["--include-orphans", *MODES[mode], *([str(self.to)] if mode == "elsewhere" else [])]

    def told(self, values: Any) -> bool:
        """Whether a report has all orphans with their parents, and those after these."""
        return {each["id"]: each["parent"] for each in values["orphans"]} == self.orphans

    def is_as_before(self, mode: str) -> None:
        tell = plain_differences if mode == "in place" else differences
        assert tell(self.before, manifest(self.root)) == []


def do(root: Path, *arguments: str) -> Any:
    ended = in_child(command(root, "migrate", *arguments, "--json"))
    assert ended.code == 0, ended
    return json.loads(ended.out)


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Lost]:
    with loop_file_system("ext4", tmp_path, 96 << 20, inodes=16384) as disk:
        root = disk / "docker"
        root.mkdir()
        orphans = with_orphans(real_store(root))
        yield Lost(root, disk / "new", orphans, manifest(root))


def with_orphans(builder: StoreBuilder) -> Dict[LayerId, Optional[LayerId]]:
    """Two on the top layer, one over the other; one alone; and the layers of a container."""
    layout, top = builder.layout, list(builder.cache_ids)[1]
    first = builder.real_layer([entry("etc/first", data=b"1"), entry("etc/.wh.base")], top)
    second = builder.real_layer([entry("bin/.wh.tool"), entry("opt/second", data=b"2")], first)
    alone = builder.real_layer([entry("etc/top", data=b"top"), entry("alone", data=b"3")])
    image = builder.image(second, "lost:1")
    container = builder.container(image, second)
    mount = LayerId((layout.mount(container) / "mount-id").read_text())
    ids = builder.cache_ids
    for chain in (first, second):
        make_anew(layout.root(ids[chain]))
    records: List[ChainId] = [first, second, alone]
    for path in (
        *map(layout.record, records),
        layout.mount(container),
        layout.container_config(container).parent,
        layout.image_config(image),
    ):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    names = json.loads(layout.repositories.read_text())
    names["Repositories"].pop("lost")
    layout.repositories.write_text(json.dumps(names))
    return {
        ids[first]: ids[top],
        ids[second]: ids[first],
        ids[alone]: None,
        LayerId(f"{mount}-init"): ids[second],
        mount: ids[second],
    }


@pytest.mark.parametrize("mode", MODES)
def test_taken_along_and_put_back(lost: Lost, mode: str) -> None:
    shown = shown_by_overlay(lost.root, lost.to.with_name("at"))
    assert lost.orphans.keys() < shown.keys()
    target = lost.to if mode == "elsewhere" else lost.root
    plan = do(lost.root, "plan", *lost.options(mode))
    assert lost.told(plan)
    assert plan["left"] == []
    assert lost.told(do(lost.root, "run", *lost.options(mode)))
    assert lost.told(json.loads((target / ".ovl1/certificate.json").read_text()))
    assert shown_by_overlay2(target, lost.to.with_name("at")) == shown
    do(target, "rollback")
    lost.is_as_before(mode)
    do(lost.root, "run", *lost.options(mode))
    do(target, "verify")
    do(target, "purge")
    assert shown_by_overlay2(target, lost.to.with_name("at")) == shown
    if mode != "in place":
        taken = plainly_counted(Layout(target, OVERLAY2).home)
        assert taken == plan["inodes"]["after_purge"]


@pytest.mark.parametrize("mode", MODES)
def test_stopped_half_way(lost: Lost, mode: str) -> None:
    """What each stands on is in the journal: half-way it could not be found again."""
    shown = shown_by_overlay(lost.root, lost.to.with_name("at"))
    target = lost.to if mode == "elsewhere" else lost.root
    run = command(lost.root, "migrate", "run", *lost.options(mode))
    point = Point("Journal.add", {"elsewhere": 4}.get(mode, 18), BEFORE)
    for way in ("rollback", "resume"):
        assert in_child(killed(point, run)).code == KILLED
        do(target, way)
        if way == "rollback":
            lost.is_as_before(mode)
    assert shown_by_overlay2(target, lost.to.with_name("at")) == shown


def test_left_behind_and_told(lost: Lost) -> None:
    plan = do(lost.root, "plan")
    assert plan["orphans"] == []
    assert {text.partition(":")[0] for text in plan["left"]} == lost.orphans.keys()
    assert all(text.endswith("; --include-orphans takes it along") for text in plan["left"])
    assert do(lost.root, "run")["orphans"] == []
    present = {path.name for path in Layout(lost.root, OVERLAY2).home.iterdir()}
    assert not present & lost.orphans.keys()
    do(lost.root, "rollback")
    lost.is_as_before("side by side")


def test_one_over_something_that_is_gone(lost: Lost) -> None:
    """It stays behind, and does not hold up the others."""
    layout = Layout(lost.root, OVERLAY)
    over = next(layer for layer in lost.orphans if layout.upper(layer).exists())
    gone = LayerId("0" * 64)
    layout.lower_id(over).write_text(gone)
    plan = do(lost.root, "plan", "--include-orphans")
    (left,) = plan["left"]
    assert left.startswith(over)
    assert left.endswith(f"over, {gone.short}, is missing or left out")
    assert {each["id"] for each in plan["orphans"]} == lost.orphans.keys() - {over}


def test_told_to_people(lost: Lost) -> None:
    ended = in_child(command(lost.root, "migrate", "plan", "--include-orphans"))
    assert ended.code == 0, ended
    for layer, parent in lost.orphans.items():
        assert f"{layer} on {parent or 'nothing'}" in " ".join(ended.out.split())
