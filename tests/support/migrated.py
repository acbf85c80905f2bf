"""A migration under test: what was there at first, and what must hold after each accident."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Dict, List, NamedTuple

from ovl1.errors import Refused
from ovl1.linux import locks
from ovl1.migrate.area import Area
from tests.support.child import Ended, command, in_child
from tests.support.manifest import Entry, differences, manifest
from tests.support.moments import AFTER, BEFORE, Point

ROOT_TIME = ".: mtime_ns "

# Between these two the data-root's own modification time is known to nobody but the process:
# `.ovl1` is there and the journal is not, or the other way round.
ONLY_THE_TIME_IS_LOST = {Point("Journal.add", 0, BEFORE), Point("Path.rmdir", 0, AFTER)}


class Place(NamedTuple):
    """A store, and what it was at first."""

    root: Path
    before: Dict[bytes, Entry]

    def do(self, *arguments: str) -> Ended:
        return in_child(command(self.root, "migrate", *arguments))

    def done(self, *arguments: str) -> None:
        ended = self.do(*arguments)
        assert ended.code == 0, ended

    def wait_for_workers(self) -> None:
        """Those of a killed command are killed with it, but a moment later: they hold its lock."""
        deadline = time.monotonic() + 10
        while True:
            try:
                with locks.exclusive(self.root):
                    return
            except Refused:
                assert time.monotonic() < deadline, "somebody has survived"
                time.sleep(0.01)

    def differences(self) -> List[str]:
        return differences(self.before, manifest(self.root))

    def is_as_before(self, *, but_for_its_time: bool = False) -> None:
        found = self.differences()
        assert not [
            line for line in found if not (but_for_its_time and line.startswith(ROOT_TIME))
        ], found

    def has_nothing_to_take_back(self) -> None:
        assert "No migration" in self.do("status").out
        ended = self.do("rollback")
        assert ended.code == 3, ended
        assert "there is no migration" in ended.err

    def takes_back(self, point: Point) -> None:
        """After something was killed at `point`."""
        if Area(self.root).home.exists():
            status = self.do("status")
            assert status.code == 0, status
            assert "No migration" not in status.out
            again = self.do("run")
            assert again.code == 3, again
            assert "`ovl1 migrate rollback`" in again.err
            self.done("rollback")
        self.is_as_before(but_for_its_time=point in ONLY_THE_TIME_IS_LOST)
        self.has_nothing_to_take_back()

    def goes_on(self) -> None:
        """After a run was stopped: as if it had not been, whatever that takes."""
        if not Area(self.root).home.exists():
            self.done("run")
            return
        stopped = json.loads(self.do("status", "--json").out)
        if stopped["state"] == "empty":
            self.done("rollback")
            self.done("run")
        elif stopped["state"] in ("planned", "begun", "done"):
            assert 0 <= stopped["done"] < stopped["steps"]
            self.done("resume")
        again = self.do("resume")
        assert again.code == 3, again
        assert "finished" in again.err

    def is_migrated(self, told: List[str]) -> None:
        """Docker's parts are as `told`; see `migrated`."""
        assert json.loads(self.do("status", "--json").out)["state"] == "verified"
        assert migrated(self.root) == told
        self.done("rollback")
        self.is_as_before(but_for_its_time=True)


def migrated(root: Path) -> List[str]:
    """What Docker finds there, but for the times of what is made anew, and for inode numbers."""
    return [
        f"{os.fsdecode(name)}: {entry._replace(mtime_ns=0, inode=0)}"
        for name, entry in sorted(manifest(root).items())
        if not name.startswith((b".ovl1", b"overlay.ovl1-old", b"image/overlay.ovl1-old"))
    ]
