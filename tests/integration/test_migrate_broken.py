"""Stores with a broken part: it is left out and told, the rest migrates, and all of it comes back.

With ``--strict`` such a store is refused as it is.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import LOWER_ID, TAR_SPLIT
from ovl1.store.store import Store
from tests.support import obstacles
from tests.support.manifest import differences, manifest
from tests.support.obstacles import (
    MIB,
    Obstacle,
    Place,
    emptied,
    in_record,
    made,
    of_the_container,
    of_the_layer,
    of_the_tree,
    written,
)
from tests.support.store_builder import write, write_tree

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

DONE, REFUSED = 0, 3


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 64 * MIB, inodes=4096) as mounted:
        (mounted / "docker").mkdir(mode=0o710)
        yield Place(mounted / "docker")


class Case(NamedTuple):
    """Something broken."""

    name: str
    damage: Obstacle
    names: Callable[[Place], str]
    """What is told of it contains this."""
    images: int = 1
    """How many images are taken along of ``app`` and ``other``."""
    containers: int = 0
    """How many containers are."""
    is_error: bool = True
    """Whether ``--strict`` refuses it; some things Docker itself clears up, or passes over."""


def mount_record(place: Place) -> Path:
    return place.layout.mount(place.container)


def mount_id(place: Place) -> Path:
    return mount_record(place) / "mount-id"


def no_layer(place: Place) -> Path:
    return place.layout.layers / "no-id"


def no_mount(place: Place) -> Path:
    return place.layout.mounts / "no-id"


def names(place: Place) -> Path:
    return place.layout.repositories


def lower_id(place: Place) -> Path:
    return place.layout.layer(place.rw) / LOWER_ID


def removing(place: Place) -> None:
    """As Docker 20.10 leaves it when it is stopped in the middle of removing a layer."""
    shutil.copytree(place.record, place.record.with_name(f"{'a' * 64}-{'b' * 64}-removing"))


def dead(place: Place) -> None:
    """A removal had begun, and had come as far as the container's layers."""
    config = json.loads(place.config.read_text())
    config["State"] = {"Dead": True, "RemovalInProgress": True}
    place.config.write_text(json.dumps(config))
    shutil.rmtree(place.layout.layer(place.rw))


def dead_but_whole(place: Place) -> None:
    config = json.loads(place.config.read_text())
    config["State"] = {"Dead": True, "RemovalInProgress": True}
    place.config.write_text(json.dumps(config))


def record_is_gone(place: Place) -> None:
    shutil.rmtree(place.record)


def all_is_empty(place: Place) -> None:
    """What a power cut leaves of files that were never synced."""
    for path in place.record.iterdir():
        path.write_bytes(b"")


def unfinished_tree(place: Place) -> None:
    layer = place.layout.home / ("c" * 64)
    for name in ("tmproot123", "upper", "work"):
        write_tree(layer / name, {"a": b""})
    write(layer / LOWER_ID, next(iter(place.builder.cache_ids.values())))


def no_layers(place: Place) -> None:
    shutil.rmtree(mount_record(place))


def foreign_container(place: Place) -> None:
    config = json.loads(place.config.read_text())
    config["Driver"] = "aufs"
    place.config.write_text(json.dumps(config))


CASES = [
    Case("tree-missing", obstacles.tree_is_gone, of_the_tree),
    Case("tree-empty", obstacles.tree_is_empty, of_the_tree),
    Case("record-missing", record_is_gone, of_the_container),
    Case("record-empty", all_is_empty, of_the_layer),
    *(
        Case(f"empty-{name}", emptied(in_record(name)), of_the_layer)
        for name in ("cache-id", "diff", "size", "parent")
    ),
    Case("empty-tar-split", emptied(in_record(TAR_SPLIT)), of_the_layer, 2, 1),
    Case("tar-split-cut", obstacles.tar_split_is_cut, of_the_layer, 2, 1, is_error=False),
    Case("tar-split-no-json", obstacles.tar_split_is_no_json, of_the_layer, 2, 1, is_error=False),
    Case("lower-id-torn", obstacles.lower_id_is_torn, lambda place: place.rw[:12], 2),
    Case(
        "lower-id-missing", lambda place: lower_id(place).unlink(), lambda place: place.rw[:12], 2
    ),
    Case("lower-id-of-nothing", written(lower_id, "f" * 64), lambda place: place.rw[:12], 2),
    Case("cache-id-leads-out", written(in_record("cache-id"), "../../etc"), of_the_layer),
    Case("cache-id-absolute", written(in_record("cache-id"), "/etc"), of_the_layer),
    Case("cache-id-twice", obstacles.cache_id_is_anothers, of_the_layer, 0),
    Case("size-no-number", written(in_record("size"), "-1"), of_the_layer),
    Case("layerdb-no-id", made(no_layer), lambda _: "no-id", 2, 1),
    Case("mounts-no-id", made(no_mount), lambda _: "no-id", 2, 1),
    Case("removing", removing, lambda _: "-removing", 2, 1, is_error=False),
    Case("tmproot", unfinished_tree, lambda _: "c" * 64, 2, 1, is_error=False),
    Case("mount-id-leads-out", written(mount_id, "../x"), of_the_container, 2),
    Case("mount-id-empty", emptied(mount_id), of_the_container, 2),
    Case("no-layers", no_layers, of_the_container, 2),
    Case("dead", dead, of_the_container, 2),
    Case("dead-but-whole", dead_but_whole, lambda _: "", 2, 1, is_error=False),
    Case("config-empty", emptied(lambda place: place.config), of_the_container, 2),
    Case("config-no-json", written(lambda place: place.config, "{"), of_the_container, 2),
    Case("config-of-another", obstacles.config_is_anothers, of_the_container, 2),
    Case("config-missing", lambda place: place.config.unlink(), of_the_container, 2),
    Case("container-dir-link", obstacles.container_dir_is_a_link, of_the_container, 2),
    Case("other-driver", foreign_container, lambda _: "aufs", 2, is_error=False),
    Case("image-hash", obstacles.image_is_changed, obstacles.of_the_changed_image, 1, 1),
    Case("names-no-json", written(names, "["), lambda _: "repositories", 2, 1),
    Case("names-no-object", written(names, "[]"), lambda _: "repositories", 2, 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_left_out_and_told(place: Place, case: Case) -> None:
    case.damage(place)
    before = manifest(place.root)
    wanted = case.names(place)
    left = planned(place)["left"]
    strict = place.migrate("plan", "--strict", "--json")
    assert strict.code == (REFUSED if case.is_error else DONE), strict
    assert not case.is_error or wanted in strict.err
    ended = place.migrate("run", "--json")
    assert ended.code == DONE, ended
    values = json.loads(ended.out)
    assert values["left"] == left
    assert wanted in " ".join([*left, *values["proof"]["notes"]])
    assert values["containers"] == case.containers
    new = Store.open(place.root, "overlay2")
    assert len(new.images) == case.images
    assert len(new.containers) == case.containers
    assert not dangling(new)
    assert place.migrate("rollback").code == DONE
    assert differences(before, manifest(place.root)) == []


def planned(place: Place) -> Dict[str, Any]:
    ended = place.migrate("plan", "--json")
    assert ended.code == DONE, ended
    found: Dict[str, Any] = json.loads(ended.out)
    return found


def dangling(new: Store) -> List[str]:
    """Records of the new store that lead nowhere; containers' files are as they were."""
    return [
        f"{problem.where}: {problem.what}"
        for problem in new.errors
        if new.layout.containers not in problem.where.parents and problem.where.name != TAR_SPLIT
    ]


def test_a_container_without_configuration_keeps_its_data(place: Place) -> None:
    """It can be restored from a backup; then the container is there again."""
    content = place.config.read_bytes()
    rw = place.rw
    place.config.write_bytes(b"")
    assert place.migrate("run").code == DONE
    place.config.write_bytes(content.replace(b'"overlay"', b'"overlay2"'))
    assert list(Store.open(place.root, "overlay2").containers) == [place.container]
    assert (place.root / "overlay2" / rw / "diff" / "etc/top").read_bytes() == b"changed"


def test_names_of_what_is_left_out_are_gone_and_others_stay(place: Place) -> None:
    obstacles.tree_is_gone(place)
    assert place.migrate("run").code == DONE
    path = place.root / "image/overlay2/repositories.json"
    assert list(json.loads(path.read_text())["Repositories"]) == ["other"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_many_broken_parts_at_once(place: Place) -> None:
    """None hides another, and they can be left out in a copy as well."""
    obstacles.tree_is_gone(place)
    write(place.layout.layers / ("d" * 64) / "cache-id", "")
    removing(place)
    unfinished_tree(place)
    place.config.unlink()
    before = manifest(place.root)
    left = "\n".join(planned(place)["left"])
    for words in (place.top.hex, "d" * 64, "-removing", "c" * 64, place.container, "app:1"):
        assert words in left
    target = place.root.parent / "copy"
    ended = place.migrate("run", "--to", str(target))
    assert ended.code == DONE, ended
    assert place.top.hex in ended.err
    assert differences(before, manifest(place.root)) == []
    new = Store.open(target, "overlay2")
    assert not dangling(new)
    assert [list(new.references.tags), os.listdir(new.layout.mounts)] == [["other:1"], []]


def test_without_the_whole_it_is_refused(place: Place) -> None:
    """A store of which a main directory is lost is not converted to an empty one."""
    shutil.rmtree(place.layout.layers)
    before = manifest(place.root)
    assert place.migrate("run").code == REFUSED
    assert differences(before, manifest(place.root)) == []


def test_in_place_it_is_refused(place: Place) -> None:
    place.config.unlink()
    before = manifest(place.root)
    ended = place.migrate("run", "--in-place")
    assert ended.code == REFUSED
    assert place.container in ended.err
    assert "Without --in-place they would be left out" in ended.err
    assert differences(before, manifest(place.root)) == []
