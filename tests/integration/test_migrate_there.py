"""A migration in place: the layers themselves are converted, on a disk that has no inodes left."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from ovl1.linux.loopback import loop_file_system
from tests.support.child import command, in_child
from tests.support.faults import Group, Point, supervised
from tests.support.inplace import plain_differences
from tests.support.layers import entry
from tests.support.manifest import Entry, manifest
from tests.support.migrated import ROOT_TIME, Place
from tests.support.moments import AFTER, BEFORE, KILLED, killed
from tests.support.moments import Point as Moment
from tests.support.store_builder import StoreBuilder, real_store
from tests.support.used import used

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

RUN = ("migrate", "run", "--in-place")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=4096) as mounted:
        root = mounted / "docker"
        root.mkdir()
        real_store(root)
        yield Place(root, manifest(root))


def is_back(place: Place) -> None:
    """All is as it was, but for the inode numbers of what had to be made again."""
    found = plain_differences(place.before, manifest(place.root))
    assert [line for line in found if not line.startswith(ROOT_TIME)] == []
    place.has_nothing_to_take_back()


def is_whole(place: Place) -> None:
    """Docker finds an overlay2 store, which was proved; and the old layers are gone for good."""
    assert json.loads(place.do("status", "--json").out)["state"] == "verified"
    place.done("verify")
    place.done("purge")
    proof = in_child(command(place.root, "--driver", "overlay2", "image", "verify", "--all"))
    assert proof.code == 0, proof
    assert sorted(os.listdir(place.root)) == ["containers", "image", "overlay2", "volumes"]
    assert [path.name for path in (place.root / "overlay2").glob("*/*")].count("root") == 0
    assert not [*(place.root / "overlay2").glob("*/lower-id")]


def test_there_and_back_and_there(place: Place) -> None:
    files = data_inodes(place.before)
    assert in_child(command(place.root, *RUN)).code == 0
    assert data_inodes(manifest(place.root)) == files, "no data were copied"
    place.done("rollback")
    is_back(place)
    assert in_child(command(place.root, *RUN)).code == 0
    is_whole(place)


TREES = (b"/root/", b"/upper/", b"/diff/")


def data_inodes(found: Dict[bytes, Entry]) -> Dict[int, str]:
    """Inodes of the layers' files that hold something, with their contents."""
    return {
        entry.inode: entry.sha256
        for name, entry in found.items()
        if entry.sha256
        and entry.size
        and any(part in name for part in (b"/root/", b"/upper/", b"/diff/"))
    }


MOMENTS = [Moment("Journal.add", number, when) for number in range(36) for when in (BEFORE, AFTER)]


@pytest.mark.parametrize("way", ["resume", "rollback"])
def test_killed(place: Place, way: str, full: bool) -> None:
    """Between any two steps; within them each call is a point of other tests."""
    for moment in MOMENTS if full else MOMENTS[3::9]:
        ended = in_child(killed(moment, command(place.root, *RUN)))
        assert ended.code == KILLED, (moment, ended)
        state = json.loads(place.do("status", "--json").out)["state"]
        if way == "resume" and state in ("planned", "begun", "done"):
            place.done("resume")
            place.done("verify")
        place.done("rollback")
        is_back(place)
        place = Place(place.root, manifest(place.root))


LAYERS, FREE = 20, 190


def test_a_disk_without_inodes(tmp_path: Path) -> None:
    """What people have who come for this: no room for a second store, nor for a second layer."""
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=8192) as mounted:
        root = mounted / "docker"
        many_layers(root)
        filler = mounted / "filler"
        filler.mkdir()
        for number in range(os.statvfs(mounted).f_ffree - FREE):
            (filler / str(number)).touch()
        place = Place(root, manifest(root))
        refused = in_child(command(root, "migrate", "run"))
        assert refused.code == 5, refused
        assert "--in-place" in refused.err

        highest: List[int] = []
        start = used(mounted)

        def measure(_point: Point, _group: Group) -> int:
            highest.append(used(mounted) - start)
            return 0

        ended = supervised(command(root, *RUN), mounted, measure).ended
        assert ended.code == 0, ended
        tell("in place", highest, used(mounted) - start)
        assert max(highest) < 100
        place.done("verify")
        highest.clear()
        ended = supervised(command(root, "migrate", "rollback"), mounted, measure).ended
        assert ended.code == 0, ended
        tell("and back", highest, used(mounted) - start)
        assert used(mounted) == start
        is_back(place)


def tell(what: str, highest: List[int], in_the_end: int) -> None:
    sys.stdout.write(f"{LAYERS} layers {what}: {max(highest):+} inodes at most, {in_the_end:+}\n")


def many_layers(root: Path) -> None:
    """A chain of layers, each of which adds, changes and deletes; and its image."""
    root.mkdir()
    builder = StoreBuilder(root)
    parent = None
    for number in range(LAYERS):
        made = [entry(f"d{number}", tarfile.DIRTYPE)]
        made += [entry(f"d{number}/{name}", tarfile.DIRTYPE) for name in "abcdef"]
        made += [entry(f"d{number}/a/{name}", data=f"{number}{name}".encode()) for name in "abc"]
        made += [entry(f"d{number - 1}/.wh.b")] if number else []
        parent = builder.real_layer(made, parent)
    builder.image(parent, "many:1")
    for name in ("containers", "volumes"):
        (root / name).mkdir(exist_ok=True)
