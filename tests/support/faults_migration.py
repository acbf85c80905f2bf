"""A store on a disk of its own at the start of each verb of ``ovl1 migrate``, and what must hold
after something has happened to it.

A way of making the new store is a `Mode`; how one gets out of what an accident has left is a `Way`.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ovl1.cli.main import INTERRUPTED
from ovl1.errors import HalfDone, NotPossibleHere, Refused
from ovl1.migrate.area import Area
from ovl1.migrate.journal import Journal
from tests.support.child import Ended, command, in_child
from tests.support.faults import Point, Supervised, alone, count
from tests.support.inplace import plain_differences
from tests.support.manifest import Entry, differences, manifest
from tests.support.power import Disk, disk
from tests.support.store_builder import real_store

RUN, ROLLBACK, PURGE = "run", "rollback", "purge"
VERBS = (RUN, ROLLBACK, PURGE)

EXPLAINED = (Refused.exit_code, HalfDone.exit_code, NotPossibleHere.exit_code)
ROOT_TIME = ".: mtime_ns "

_MAX_SHOWN = 20


class Mode(NamedTuple):
    """A way of making the new store."""

    name: str
    arguments: Tuple[str, ...] = ()
    """Of ``ovl1 migrate run``."""
    make: Callable[[Path], object] = real_store
    """Makes the store."""

    def __str__(self) -> str:
        return self.name


SIDE_BY_SIDE = Mode("side by side")
IN_PLACE = Mode("in place", ("--in-place",))
ELSEWHERE = Mode("to another data-root", ("--to",))
MODES = (SIDE_BY_SIDE, IN_PLACE, ELSEWHERE)


class Stage:
    """A migration that can be put back to where each verb starts.

    Args:
        source: another disk with a data-root, from which the store is copied; None to make one in
            the data-root itself.
    """

    def __init__(self, the_disk: Disk, mode: Mode, source: Optional[Disk] = None) -> None:
        self.disk, self.mode = the_disk, mode
        self.root = the_disk.data_root
        self.source = source.data_root if source else self.root
        self.area = Area(self.root)
        self.source.mkdir()
        mode.make(self.source)
        self.before: Dict[bytes, Entry] = manifest(self.source)
        unmigrated = the_disk.keep("unmigrated")
        self.done(RUN)
        migrated = the_disk.keep("migrated")
        self._starts = {RUN: unmigrated, ROLLBACK: migrated, PURGE: migrated}
        self._points: Dict[str, List[Point]] = {}

    @property
    def watched(self) -> Path:
        """The file system whose changes are points."""
        return self.disk.mount_point

    def action(self, verb: str) -> Callable[[], int]:
        """What a child does for a verb."""
        if verb != RUN:
            return command(self.root, "migrate", verb)
        to = [] if self.source == self.root else [str(self.root)]
        return command(self.source, "migrate", RUN, *self.mode.arguments, *to)

    def do(self, verb: str) -> Ended:
        return in_child(self.action(verb))

    def done(self, verb: str) -> None:
        ended = self.do(verb)
        assert ended.code == 0, ended

    def start(self, verb: str) -> Callable[[], int]:
        """Put everything back to where the verb starts; gives what is to be done."""
        self.disk.put_back(self._starts[verb])
        return self.action(verb)

    def points(self, verb: str) -> List[Point]:
        """All points of a verb, when nothing happens to it and it works alone."""
        if verb not in self._points:
            done = count(alone(self.start(verb)), self.watched)
            assert done.ended.code == 0, done.ended
            self._points[verb] = done.points
        return self._points[verb]

    def differences(self) -> List[str]:
        """What is not as it was; the way back from in place makes some inodes again."""
        told = plain_differences if self.mode == IN_PLACE else differences
        found = told(self.before, manifest(self.source))
        if self.source != self.root and self.root.exists():
            found += [f"{path}: new" for path in self.root.iterdir()]
        return found


@contextlib.contextmanager
def stage(mode: Mode, kind: str, directory: Path) -> Iterator[Stage]:
    """A store on a file system of some kind, ready for a mode."""
    with contextlib.ExitStack() as stack:
        disks = [
            stack.enter_context(disk(kind, directory))
            for _ in range(1 + ("--to" in mode.arguments))
        ]
        yield Stage(disks[0], mode, *disks[1:])


class Aftermath:
    """What is found after an accident, and what must come of it.

    Args:
        hit: where it happened; None if it never did.
        lost_power: what was done last may not have reached the disk.
        shares_less: what could not be linked may have become a copy.
    """

    def __init__(
        self,
        place: Stage,
        verb: str,
        hit: Optional[Point] = None,
        *,
        lost_power: bool = False,
        shares_less: bool = False,
    ) -> None:
        self._shares_less = shares_less
        self._place, self._verb = place, verb
        self._may_lose_time = _only_the_time_is_lost(place, verb, hit, lost_power=lost_power)

    def is_as_before(self) -> None:
        found = self._place.differences()
        if self._may_lose_time:
            found = [line for line in found if not line.startswith(ROOT_TIME)]
        if self._shares_less:
            found = [line for line in found if ": nlink was " not in line]
        assert not found, "\n".join(["not as before:", *found[:_MAX_SHOWN]])

    def ends_well(self) -> None:
        """By what one does after this verb: the only way after a purge has begun is to its end."""
        if self._place.area.home.exists():
            status = self._place.do("status")
            assert status.code == 0, status
            assert "No migration" not in status.out, status
            self._place.done(PURGE if self._verb == PURGE else ROLLBACK)
        if self._verb == PURGE:
            self._is_purged()
        else:
            self.is_as_before()
        assert not self._place.area.home.exists()
        if self._place.root.exists():
            assert "No migration" in self._place.do("status").out

    def _is_purged(self) -> None:
        root = self._place.root
        left = {path.name for path in root.iterdir()}
        assert left == {"overlay2", "image", "containers", "volumes"}, left
        left = {path.name for path in (root / "image").iterdir()}
        assert left == {"overlay2"}, left
        proof = in_child(command(root, "--driver", "overlay2", "image", "verify", "--all"))
        assert proof.code == 0, proof


def survives_a_kill(place: Stage, verb: str, done: Supervised) -> None:
    """It may also have ended before that moment came."""
    assert done.ended.code == (-signal.SIGKILL if done.hit else 0), done.ended
    Aftermath(place, verb, done.hit).ends_well()


def goes_on(place: Stage, hit: Optional[Point]) -> None:
    """After `run` was stopped: `resume` ends it, and what it made is proved."""
    journal = Journal.read(place.area.journal)
    if journal is not None and journal.is_under_way:
        place.done("resume")
        place.done("verify")
        assert place.do("status").out.startswith("finished and verified")
    Aftermath(place, RUN, hit).ends_well()


def survives_an_error(place: Stage, verb: str, done: Supervised) -> None:
    """It does without what failed; or has changed nothing and says why; or says how to go on."""
    after = Aftermath(place, verb, done.hit, shares_less=place.mode == IN_PLACE)
    _is_explained(place, verb, done, after)
    if done.ended.code == 0 and verb == RUN:
        place.done("verify")
    after.ends_well()


def survives_a_full_disk(place: Stage, verb: str, done: Supervised) -> None:
    """The same; and the way back needs no room, or says so and can be tried again with some."""
    after = Aftermath(place, verb, done.hit, shares_less=place.mode == IN_PLACE)
    _is_explained(place, verb, done, after)
    if place.area.home.exists():
        ended = place.do(PURGE if verb == PURGE else ROLLBACK)
        assert ended.code in (0, *EXPLAINED), ended
        assert "Traceback" not in ended.err, ended
    place.disk.make_room()
    after.ends_well()


def _is_explained(place: Stage, verb: str, done: Supervised, after: Aftermath) -> None:
    code, _, err = done.ended
    if code == 0:
        return
    assert code in EXPLAINED, code
    assert err.startswith("ovl1: ")
    assert "Traceback" not in err
    if verb == RUN and place.area.home.exists():
        assert code == HalfDone.exit_code
        assert "ovl1 migrate rollback" in err
    elif verb == RUN:
        after.is_as_before()


def survives_a_signal(place: Stage, verb: str, done: Supervised) -> None:
    """It stops with everything taken back, or at least can be gone on with."""
    assert "Traceback" not in done.ended.err
    after = Aftermath(place, verb, done.hit)
    if verb == RUN and done.ended.code == INTERRUPTED:
        after.is_as_before()
    after.ends_well()


def survives_lost_power(place: Stage, verb: str) -> None:
    """What is on the disk is enough to go on."""
    Aftermath(place, verb, lost_power=True).ends_well()


def _only_the_time_is_lost(
    place: Stage, verb: str, hit: Optional[Point], *, lost_power: bool
) -> bool:
    """Whether the data-root's own modification time was known to nobody but the process.

    So it is until the plan is recorded, and when the journal has gone, last of all.
    """
    if place.area.home.exists():
        journal = Journal.read(place.area.journal)
        return verb == RUN and (journal is None or not journal.records)
    return lost_power or (hit is not None and hit[1:] == ("utimensat", "docker"))
