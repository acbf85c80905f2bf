"""A migration that is told to stop, by whichever signal, how often and whenever."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest

from ovl1.cli.main import INTERRUPTED
from ovl1.errors import HalfDone
from ovl1.linux.loopback import loop_file_system
from ovl1.migrate.area import Area
from tests.support.child import command, in_child
from tests.support.manifest import manifest
from tests.support.migrated import Place
from tests.support.moments import AFTER, BEFORE, Point, at
from tests.support.store_builder import real_store

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=4096) as mounted:
        root = mounted / "docker"
        root.mkdir()
        real_store(root)
        yield Place(root, manifest(root))


def signalled(*numbers: signal.Signals) -> Callable[[], None]:
    def send() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


@pytest.mark.parametrize(
    ("verb", "point", "numbers"),
    [
        ("run", Point("MakeLayers.do", 0, BEFORE), (TERM,)),
        ("run", Point("MakeLayers.do", 0, AFTER), (HUP,)),
        ("run", Point("Swap.do", 1, BEFORE), (TERM, TERM)),
        ("run", Point("sync_file_system", 1, AFTER), (INT, TERM, HUP)),
        ("rollback", Point("Swap.undo", 0, AFTER), (TERM,)),
        ("purge", Point("remove_tree", 1, AFTER), (HUP, INT)),
    ],
    ids=str,
)
def test_stopped(
    place: Place, verb: str, point: Point, numbers: Tuple[signal.Signals, ...]
) -> None:
    if verb != "run":
        place.done("run")
    action = command(place.root, "migrate", verb)
    ended = in_child(at(point, signalled(*numbers), action))
    assert ended.code == HalfDone.exit_code, ended
    assert ended.err.startswith("ovl1: the migration was "), ended
    again = "resume" if verb == "run" else verb
    assert f"`ovl1 migrate {again}`" in ended.err
    place.done(again)
    if verb == "run":
        place.done("verify")
    if verb != "purge":
        place.done("rollback") if verb == "run" else None
        place.is_as_before()


def test_stopped_before_anything_is_changed(place: Place) -> None:
    ended = in_child(
        at(Point("Journal.add", 0, BEFORE), signalled(TERM), command(place.root, "migrate", "run"))
    )
    assert ended.code == INTERRUPTED, ended
    assert not Area(place.root).home.exists()
    place.is_as_before()


def test_a_proof_leaves_nothing_to_go_on_with(place: Place) -> None:
    place.done("run")
    verify = command(place.root, "migrate", "verify")
    ended = in_child(at(Point("write_file", 0, BEFORE), signalled(TERM), verify))
    assert ended.code == INTERRUPTED, ended


def test_a_second_signal_while_the_end_is_told(place: Place) -> None:
    """As the one that a service manager sends after the first, or an impatient thumb."""

    def twice() -> int:
        code = at(
            Point("MakeLayers.do", 0, AFTER),
            signalled(TERM),
            command(place.root, "migrate", "run"),
        )()
        signalled(TERM, INT, HUP)()
        return code

    ended = in_child(twice)
    assert ended.code == HalfDone.exit_code, ended
    place.done("rollback")
    place.is_as_before()


def test_what_was_ignored_stays_so(place: Place) -> None:
    def nohup() -> int:
        signal.signal(HUP, signal.SIG_IGN)
        return at(
            Point("MakeLayers.do", 0, AFTER), signalled(HUP), command(place.root, "migrate", "run")
        )()

    assert in_child(nohup).code == 0


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_workers_leave_stopping_to_the_command(place: Place, number: signal.Signals) -> None:
    """A terminal that goes away, and some service managers, signal all processes of a command."""

    def all_of_them() -> int:
        os.setpgid(0, 0)
        return at(
            Point("Maker.make", 1, BEFORE),
            lambda: os.killpg(0, number),
            command(place.root, "migrate", "run"),
        )()

    assert in_child(all_of_them).code == HalfDone.exit_code
    place.done("resume")
    place.done("rollback")
    place.is_as_before()
