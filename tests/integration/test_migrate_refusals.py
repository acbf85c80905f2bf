"""What a migration refuses: each with one clear message, and without changing anything.

A store as a daemon leaves it migrates and comes back; then each kind of damage or obstacle on its
own is put into its way.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import pytest

from ovl1.linux import libc, locks, mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.model import Mount
from tests.support import obstacles
from tests.support.child import as_nobody, command, in_child
from tests.support.leftovers import enter_own_mount_namespace
from tests.support.manifest import differences, manifest
from tests.support.obstacles import (
    MIB,
    Obstacle,
    Place,
    made,
    of_the_container,
    written,
)
from tests.support.store_builder import write, write_tree

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

DONE, FAILED, WRONG_USAGE, REFUSED, NOT_POSSIBLE = 0, 1, 2, 3, 5
_MS_BIND = 0x1000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 64 * MIB, inodes=4096) as mounted:
        (mounted / "docker").mkdir(mode=0o710)
        yield Place(mounted / "docker")


class Case(NamedTuple):
    """Something that forbids a migration."""

    name: str
    obstacle: Obstacle
    """Puts it into the way; what it returns is held meanwhile."""
    names: Callable[[Place], str] = lambda place: str(place.root)
    """What the message must name, or a part of it."""
    code: int = REFUSED


CASES = [
    # What is not right in the store as a whole.
    Case("overlay-link", obstacles.overlay_is_a_link, lambda place: str(place.layout.home)),
    # What is in the way.
    Case(
        "overlay-own-file-system",
        obstacles.own_file_system,
        lambda place: f"{place.layout.home} is on a file system of its own",
    ),
    Case(
        "overlay-bound-to-itself",
        obstacles.bound_to_itself,
        lambda place: f"{place.layout.home} mounted",
    ),
    Case(
        "overlay2-there",
        lambda place: write_tree(place.root / "overlay2", {"something": b""}),
        lambda place: str(place.root / "overlay2"),
    ),
    Case(
        "overlay2-images-there",
        lambda place: write(place.root / "image/overlay2/imagedb/content/sha256/some", "{}"),
        lambda place: str(place.root / "image" / "overlay2"),
    ),
    Case("too-many-layers", obstacles.too_many_layers, lambda _: "128"),
    Case(
        "mounted", obstacles.container_is_mounted, lambda place: str(place.layout.merged(place.rw))
    ),
    Case("process-inside", obstacles.process_inside, lambda place: str(place.layout.home)),
    Case("locked", lambda place: locks.exclusive(place.root)),
    Case("redirect", obstacles.renamed_from_nowhere, of_the_container),
    Case("metacopy", obstacles.only_metadata, of_the_container),
    Case("before-1.10", obstacles.before_1_10),
    Case("few-inodes", obstacles.few_inodes, lambda _: "free inodes", NOT_POSSIBLE),
    Case("no-inodes", obstacles.no_inodes, lambda _: "free inodes", NOT_POSSIBLE),
    Case("no-space", obstacles.no_space, lambda _: "free bytes", NOT_POSSIBLE),
    Case("no-store", obstacles.no_store, code=WRONG_USAGE),
    Case("no-data-root", lambda place: shutil.rmtree(place.root), code=WRONG_USAGE),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(place: Place, case: Case) -> None:
    held = case.obstacle(place)
    with held if held is not None else contextlib.nullcontext():
        top = place.root if place.root.exists() else place.root.parent
        before = manifest(top)
        text = place.migrate("run")
        parts = place.migrate("run", "--json")
        after = manifest(top)
        wanted = case.names(place)
    for ended in (text, parts):
        assert ended.code == case.code, ended
        assert not ended.out
        assert "Traceback" not in ended.err
    assert text.err.startswith("ovl1: "), text
    error = json.loads(parts.err)["error"]
    assert error["brief"], error
    assert error["resolution"], error
    assert wanted in error["brief"] + error["details"], error
    assert wanted in text.err
    assert differences(before, after) == []


def test_a_whole_store_migrates_and_comes_back(place: Place) -> None:
    before = manifest(place.root)
    for arguments in (["plan"], ["run"], ["verify"]):
        ended = place.migrate(*arguments)
        assert ended.code == DONE, ended
    assert not (place.root / "overlay").exists()
    assert json.loads(place.config.read_text())["Driver"] == "overlay2"
    ended = place.migrate("rollback")
    assert ended.code == DONE, ended
    assert differences(before, manifest(place.root)) == []


def test_an_empty_overlay2_store_comes_back_as_well(place: Place) -> None:
    """A newer Docker that did not see the overlay store has begun one of its own."""
    for name in ("overlay2/l", "image/overlay2/layerdb/sha256"):
        (place.root / name).mkdir(parents=True)
    before = manifest(place.root)
    for verb in ("run", "verify", "rollback"):
        ended = place.migrate(verb)
        assert ended.code == DONE, ended
    assert differences(before, manifest(place.root)) == []


def test_the_plan_changes_nothing(place: Place) -> None:
    before = manifest(place.root)
    assert place.migrate("plan").code == DONE
    assert differences(before, manifest(place.root)) == []


# What Docker passes over, and so does a migration; but it says so.


@pytest.mark.parametrize(
    ("oddity", "names"),
    [
        (made(lambda place: place.layout.home / "no-id"), lambda _: "no-id"),
        (written(lambda place: place.layout.home / "file", ""), lambda _: "file:"),
        # Docker itself notices only when it writes the layer's tar, and cannot; nor after.
        (obstacles.tar_split_of_another, lambda place: place.top),
        # The trees are compared instead.
        (obstacles.tar_split_is_missing, lambda place: place.top),
    ],
    ids=["directory", "file", "tar-split-of-another", "no-tar-split"],
)
def test_told_but_not_refused(
    place: Place, oddity: Obstacle, names: Callable[[Place], str]
) -> None:
    oddity(place)
    before = manifest(place.root)
    ended = place.migrate("run", "--json")
    assert ended.code == DONE, ended
    values = json.loads(ended.out)
    assert names(place) in " ".join([*values["left"], *values["proof"]["notes"]])
    assert place.migrate("rollback").code == DONE
    assert differences(before, manifest(place.root)) == []


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_only_root(place: Place, mode: int) -> None:
    """Where others may look into the data-root, and where not even that."""
    seen = Path("/mnt/docker")

    def where_all_may_go() -> int:
        enter_own_mount_namespace()
        mounts.mount(Mount("tmpfs", "tmpfs"), seen.parent)
        seen.mkdir()
        libc.mount(str(place.root), str(seen), "none", _MS_BIND, "")
        return as_nobody(command(seen, "migrate", "run"))()

    place.root.chmod(mode)
    before = manifest(place.root)
    ended = in_child(where_all_may_go)
    assert ended.code == NOT_POSSIBLE, ended
    assert "as root" in ended.err
    assert str(seen) in ended.err
    assert differences(before, manifest(place.root)) == []


LINK = "A" * 26


@pytest.mark.parametrize(
    "target", ["../" + "0" * 64 + "/diff", "/etc", "../../../etc", "../../containers"]
)
@pytest.mark.parametrize("own", [False, True], ids=["extra", "of-a-layer"])
def test_links_that_lead_nowhere_fail_the_verification(
    place: Place, target: str, own: bool
) -> None:
    assert place.migrate("run").code == DONE
    links = place.root / "overlay2" / "l"
    name = (place.root / "overlay2" / place.tree / "link").read_text() if own else LINK
    with contextlib.suppress(FileNotFoundError):
        (links / name).unlink()
    (links / name).symlink_to(target)
    before = manifest(place.root)
    ended = place.migrate("verify")
    assert ended.code == FAILED, ended
    assert name in ended.err
    assert "Traceback" not in ended.err
    assert differences(before, manifest(place.root)) == []
