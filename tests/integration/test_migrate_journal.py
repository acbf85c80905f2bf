"""A migration that is killed, at any moment: it can be taken back, bit for bit, and finished.

Each call that changes the store or the journal is a point. A child process does the real work on
a real file system and ends there without any clean-up, before or after the call. That is a
``kill -9``, at a chosen instruction.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from ovl1.cli.main import INTERRUPTED
from ovl1.errors import HalfDone, Refused
from ovl1.linux.loopback import loop_file_system
from ovl1.migrate.area import Area
from tests.support.child import command, in_child, running
from tests.support.manifest import differences, manifest
from tests.support.migrated import Place, migrated
from tests.support.moments import (
    AFTER,
    BEFORE,
    KILLED,
    Point,
    at,
    counted,
    interrupted,
    killed,
    points,
)
from tests.support.store_builder import real_store

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

# How often each is called for the store of these tests; a test below counts them.
IN_RUN = {
    "Bar.do": 2,
    "Swap.do": 2,
    "Move.do": 2,
    "MakeLayers.do": 1,
    "SwitchDriver.do": 1,
    "Unbar.do": 1,
    "Journal.add": 27,
    "os.rename": 6,
    "libc.exchange": 2,
    "sync_file_system": 3,
}
IN_ROLLBACK = {
    "Bar.undo": 2,
    "Swap.undo": 2,
    "Move.undo": 2,
    "SwitchDriver.undo": 1,
    "Unbar.undo": 1,
    "Journal.add": 14,
    "os.rename": 4,
    "libc.exchange": 2,
    "remove_tree": 11,
    "sync_file_system": 3,
    "Path.rmdir": 1,
}
IN_PURGE = {"Journal.add": 1, "remove_tree": 12, "sync_file_system": 3, "Path.rmdir": 1}


# Every system call is a point in the tests of faults; here some of them must do.
SOME_IN_RUN, SOME_IN_ROLLBACK = points(IN_RUN)[::5], points(IN_ROLLBACK)[::5]
# After one of them is before the next.
SOME_IN_PURGE = [point for point in points(IN_PURGE) if point.when == AFTER]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> List[str]:
    """What a migration makes that nothing disturbs."""
    with loop_file_system("ext4", tmp_path_factory.mktemp("t"), 64 << 20, inodes=4096) as mounted:
        root = mounted / "docker"
        root.mkdir()
        real_store(root)
        assert in_child(command(root, "migrate", "run")).code == 0
        return migrated(root)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=4096) as mounted:
        root = mounted / "docker"
        root.mkdir()
        real_store(root)
        yield Place(root, manifest(root))


@pytest.mark.parametrize(
    ("earlier", "verb", "calls"),
    [([], "run", IN_RUN), (["run"], "rollback", IN_ROLLBACK), (["run"], "purge", IN_PURGE)],
)
def test_the_tables_have_all_points(
    place: Place, earlier: List[str], verb: str, calls: Dict[str, int]
) -> None:
    for argument in earlier:
        place.done(argument)
    ended = in_child(counted(calls, command(place.root, "migrate", verb)))
    assert ended.err.endswith(f"{calls}"), ended


@pytest.mark.parametrize("point", SOME_IN_RUN, ids=str)
def test_run_killed(place: Place, point: Point) -> None:
    ended = in_child(killed(point, command(place.root, "migrate", "run")))
    assert ended.code == KILLED, ended
    place.takes_back(point)
    place.done("run")


@pytest.mark.parametrize("point", SOME_IN_RUN, ids=str)
def test_run_killed_and_resumed(place: Place, point: Point, told: List[str]) -> None:
    ended = in_child(killed(point, command(place.root, "migrate", "run")))
    assert ended.code == KILLED, ended
    place.goes_on()
    place.is_migrated(told)


@pytest.mark.parametrize("point", SOME_IN_RUN, ids=str)
def test_resume_killed(place: Place, point: Point, told: List[str]) -> None:
    """What is left to be done is killed, too, if it comes to that point at all."""
    half = Point("Journal.add", IN_RUN["Journal.add"] // 2, AFTER)
    assert in_child(killed(half, command(place.root, "migrate", "run"))).code == KILLED
    assert in_child(killed(point, command(place.root, "migrate", "resume"))).code in (0, KILLED)
    place.goes_on()
    place.is_migrated(told)


@pytest.mark.parametrize("point", SOME_IN_ROLLBACK, ids=str)
def test_rollback_killed(place: Place, point: Point) -> None:
    place.done("run")
    ended = in_child(killed(point, command(place.root, "migrate", "rollback")))
    assert ended.code == KILLED, ended
    place.takes_back(point)


@pytest.mark.parametrize("point", SOME_IN_ROLLBACK, ids=str)
def test_rollback_killed_of_a_run_killed(place: Place, point: Point) -> None:
    """The most that there can be to take back: all steps begun, the last one not recorded."""
    last = Point("Unbar.do", 0, AFTER)
    assert in_child(killed(last, command(place.root, "migrate", "run"))).code == KILLED
    ended = in_child(killed(point, command(place.root, "migrate", "rollback")))
    assert ended.code == KILLED, ended
    place.takes_back(point)


# Two more than in IN_RUN: an empty overlay2 store is moved out of the way, and back.
@pytest.mark.parametrize("point", points({"Move.do": 4, "Move.undo": 4}), ids=str)
def test_killed_with_an_empty_store_aside(place: Place, point: Point) -> None:
    for name in ("overlay2/l", "image/overlay2/layerdb/sha256"):
        (place.root / name).mkdir(parents=True)
    place = Place(place.root, manifest(place.root))
    verb = "run"
    if point.name == "Move.undo":
        place.done("run")
        verb = "rollback"
    assert in_child(killed(point, command(place.root, "migrate", verb))).code == KILLED
    place.takes_back(point)


@pytest.mark.parametrize("point", SOME_IN_PURGE, ids=str)
def test_purge_killed(place: Place, point: Point) -> None:
    place.done("run")
    ended = in_child(killed(point, command(place.root, "migrate", "purge")))
    assert ended.code == KILLED, ended
    if Area(place.root).home.exists():
        assert "No migration" not in place.do("status").out
        place.done("purge")
    left = {path.name for path in place.root.iterdir()}
    assert left == {"overlay2", "image", "containers", "volumes"}
    assert {path.name for path in (place.root / "image").iterdir()} == {"overlay2"}
    proof = in_child(command(place.root, "--driver", "overlay2", "image", "verify", "--all"))
    assert proof.code == 0, proof
    place.has_nothing_to_take_back()


@pytest.mark.parametrize("point", SOME_IN_RUN, ids=str)
def test_run_interrupted(place: Place, point: Point, told: List[str]) -> None:
    ended = in_child(interrupted(point, command(place.root, "migrate", "run")))
    if Area(place.root).home.exists():
        assert ended.code == HalfDone.exit_code, ended
        assert "ovl1 migrate r" in ended.err or "ovl1 migrate purge" in ended.err
    else:
        assert ended.code == INTERRUPTED, ended
        place.is_as_before()
    place.goes_on()
    place.is_migrated(told)


def test_a_failure_is_taken_back_unless_that_is_interrupted(place: Place) -> None:
    run = command(place.root, "migrate", "run")
    failing = at(Point("MakeLayers.do", 0, AFTER), fail, run)
    ended = in_child(failing)
    assert ended.code == Refused.exit_code, ended
    place.is_as_before()
    place.has_nothing_to_take_back()

    ended = in_child(interrupted(Point("Swap.undo", 0, BEFORE), failing))
    assert ended.code == HalfDone.exit_code, ended
    assert "ovl1 migrate rollback" in ended.err
    assert place.do("resume").code == Refused.exit_code
    place.done("rollback")
    place.is_as_before()


def fail() -> None:
    raise Refused("for the test")


@pytest.mark.parametrize("verb", ["run", "rollback"])
def test_killed_at_any_moment(place: Place, verb: str, full: bool) -> None:
    """Moments that nobody has thought of; each hundredth of the way, or each tenth."""
    action = command(place.root, "migrate", verb)
    if verb == "rollback":
        place.done("run")
    begun = time.monotonic()
    assert in_child(action).code == 0
    duration = time.monotonic() - begun
    if verb == "run":
        place.done("rollback")
    steps = 100 if full else 10
    for step in range(steps):
        if verb == "rollback":
            place.done("run")
        with running(action) as child:
            time.sleep(duration * (step + 0.5) / steps)
            child.signal(signal.SIGKILL)
        place.wait_for_workers()
        if Area(place.root).home.exists():
            place.done("rollback")
        place.is_as_before(but_for_its_time=True)


@pytest.mark.parametrize("number", range(1, IN_RUN["Journal.add"], 5))
def test_a_torn_last_line_of_the_journal(place: Place, number: int) -> None:
    """As a power cut may leave it; and killed again while that is taken back."""
    point = Point("Journal.add", number, BEFORE)
    assert in_child(killed(point, command(place.root, "migrate", "run"))).code == KILLED
    with Area(place.root).journal.open("ab") as journal:
        journal.write(b'{"event": "be')
    again = Point("Journal.add", 0, AFTER)
    assert in_child(killed(again, command(place.root, "migrate", "rollback"))).code == KILLED
    place.takes_back(again)


def test_a_torn_first_line_of_the_journal(place: Place) -> None:
    first = Point("Journal.add", 0, AFTER)
    assert in_child(killed(first, command(place.root, "migrate", "run"))).code == KILLED
    os.truncate(Area(place.root).journal, 10)
    removing = Point("remove_tree", 0, BEFORE)
    assert in_child(killed(removing, command(place.root, "migrate", "rollback"))).code == KILLED
    place.done("rollback")
    place.is_as_before(but_for_its_time=True)


def test_without_its_journal_nothing_is_touched(place: Place) -> None:
    place.done("run")
    Area(place.root).journal.unlink()
    before = manifest(place.root)
    for verb in ("run", "rollback", "purge", "verify"):
        ended = place.do(verb)
        assert ended.code == 3, (verb, ended)
    assert differences(before, manifest(place.root)) == []


def test_a_container_removed_since(place: Place) -> None:
    """As ``docker rm`` under overlay2 does it."""
    place.done("run")
    (container,) = (place.root / "containers").iterdir()
    shutil.rmtree(container)
    shutil.rmtree(place.root / "image/overlay2/layerdb/mounts" / container.name)
    before = manifest(place.root)
    refused = place.do("rollback")
    assert refused.code == 3, refused
    assert container.name[:12] in refused.err
    assert differences(before, manifest(place.root)) == []
    place.done("rollback", "--discard-new")
    told = [line for line in place.differences() if not line.startswith("containers")]
    assert told == []
    old = place.before[os.fsencode(f"containers/{container.name}/config.v2.json")]
    assert manifest(container)[b"config.v2.json"] == old
