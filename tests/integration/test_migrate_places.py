"""Stores in odd places: behind links, on mounts of their own, in a user namespace's data-root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY2, Layout
from ovl1.store.store import Store
from tests.support import obstacles
from tests.support.child import command, in_child
from tests.support.manifest import differences, manifest
from tests.support.obstacles import MIB, Place

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

DONE = 0
OWNER = 100000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path, 64 * MIB, inodes=4096) as mounted:
        yield mounted


def place_at(root: Path) -> Place:
    root.mkdir(mode=0o710)
    return Place(root)


def test_a_data_root_behind_a_link(disk: Path) -> None:
    place = place_at(disk / "docker")
    before = manifest(place.root)
    link = disk / "link"
    link.symlink_to("docker")
    for verb in ("run", "verify", "rollback"):
        ended = in_child(command(link, "migrate", verb))
        assert ended.code == DONE, ended
    assert differences(before, manifest(place.root)) == []


def test_layers_on_a_file_system_of_their_own_can_be_copied(disk: Path) -> None:
    place = place_at(disk / "docker")
    with obstacles.own_file_system(place):
        before = manifest(place.layout.home)
        ended = place.migrate("run", "--to", str(disk / "new"))
        assert differences(before, manifest(place.layout.home)) == []
    assert ended.code == DONE, ended
    store = Store.open(disk / "new", OVERLAY2)
    assert (len(store.images), len(store.containers), store.errors) == (2, 1, [])


@pytest.mark.parametrize("to", [False, True], ids=["in place", "to"])
def test_the_data_root_of_a_user_namespace(disk: Path, *, to: bool) -> None:
    """Owners stay the numbers that they are, and what Docker makes for root is its root's."""
    name = f"{OWNER}.{OWNER}"
    place = place_at(disk / name)
    for directory, folders, files in os.walk(place.root):
        for entry in (*folders, *files):
            os.chown(Path(directory, entry), OWNER, OWNER, follow_symlinks=False)
    before = manifest(place.root)
    rw = place.rw
    (disk / "new").mkdir()
    target = disk / "new" / name if to else place.root
    ended = place.migrate("run", *(["--to", str(target)] if to else []))
    assert ended.code == DONE, ended
    layout = Layout(target, OVERLAY2)
    owners = {
        (status.st_uid, status.st_gid)
        for path in (layout.diff(rw), layout.work(rw), layout.diff(place.tree))
        for status in [path.stat()]
    }
    assert owners == {(OWNER, OWNER)}
    verified = in_child(command(target, "migrate", "verify"))
    assert verified.code == DONE, verified
    if not to:
        assert place.migrate("rollback").code == DONE
    assert differences(before, manifest(place.root)) == []
