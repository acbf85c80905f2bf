"""The journal of a migration: what was planned, and each step before and after it was done.

One JSON object per line, each fsynced before the work goes on. The state of a migration is read
from here, never guessed from what exists. A last line cut short by a crash was not yet relied on
by anything and is dropped.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set

from ovl1.errors import BrokenStore
from ovl1.linux.durable import append_line

VERSION = 2

_LOG = logging.getLogger(__name__)

PLANNED, BEGUN, DONE = "planned", "begun", "done"
VERIFIED, PURGING = "verified", "purging"
UNDOING, UNDONE = "undoing", "undone"
# Not events, but states all the same.
EMPTY = "empty"
"""There is a journal, or the directory for one, and nothing in it."""
SWITCHED = "switched"
"""All steps are done, none of which was a proof."""

_STOPPED = "stopped after {done} of {steps} steps; Docker is kept away"
_UNDOING = "interrupted while it was being rolled back"
_WORDS = {
    EMPTY: "interrupted before it changed anything, or after it was taken back or purged",
    PLANNED: "interrupted before it changed anything of the store",
    BEGUN: _STOPPED,
    DONE: _STOPPED,
    SWITCHED: "finished: Docker finds an overlay2 store; not yet verified in full",
    VERIFIED: "finished and verified: Docker finds an overlay2 store",
    UNDOING: _UNDOING,
    UNDONE: _UNDOING,
    PURGING: "finished; interrupted while the old layers were being deleted",
}
_ON_OR_BACK = "`ovl1 migrate resume` goes on with it, `ovl1 migrate rollback` takes it back."
_BACK = "`ovl1 migrate rollback` brings back the old store."
_RESOLUTIONS = {
    EMPTY: "`ovl1 migrate rollback` removes what is left of it.",
    PLANNED: _ON_OR_BACK,
    BEGUN: _ON_OR_BACK,
    DONE: _ON_OR_BACK,
    SWITCHED: f"`ovl1 migrate verify` proves it; {_BACK}",
    VERIFIED: f"`ovl1 migrate purge` deletes the old store; until then {_BACK}",
    UNDOING: "`ovl1 migrate rollback` finishes that.",
    UNDONE: "`ovl1 migrate rollback` finishes that.",
    PURGING: "`ovl1 migrate purge` finishes that; there is no way back.",
}


@dataclass(frozen=True)
class Journal:
    """The journal as read at one moment; `add` appends to the file and to this object."""

    path: Path
    records: List[Dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Optional[Journal]:
        """The journal at `path`, or None if no migration is in progress: without its directory.

        Raises:
            BrokenStore: it exists but is none of ours, or of another version.
        """
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            if not path.parent.is_dir():
                return None
            lines = []
        journal = cls(path)
        try:
            journal.records.extend(json.loads(line) for line in lines)
            if journal.records and journal.records[0]["version"] != VERSION:
                raise ValueError(f"version {journal.records[0]['version']}")
        except (ValueError, KeyError, TypeError) as err:
            raise BrokenStore(
                "the journal of the migration cannot be read",
                details=f"{path}: {err}",
                resolution="Do not start Docker on this data-root. Use the version of ovl1 that "
                "wrote the journal, or restore the file.",
            ) from err
        return journal

    def add(self, event: str, **fields: Any) -> None:
        """Record an event; it is on the disk when this returns."""
        record = {"event": event, **fields}
        append_line(self.path, json.dumps(record, sort_keys=True).encode())
        self.records.append(record)
        step = f"step {fields['step'] + 1} " if "step" in fields else ""
        _LOG.info("%s%s%s", step, event, f": {fields['what']}" if "what" in fields else "")

    @property
    def state(self) -> str:
        """The last event; when all steps are done, `VERIFIED` or `SWITCHED`."""
        if not self.records:
            return EMPTY
        event = str(self.records[-1]["event"])
        if event == DONE and len(self.done()) == self.plan["steps"]:
            return VERIFIED if self.certificate else SWITCHED
        return event

    @property
    def words(self) -> str:
        """The state, for people."""
        return _WORDS[self.state].format(done=len(self.done()), steps=self.plan.get("steps"))

    @property
    def resolution(self) -> str:
        """What people can do now."""
        return _RESOLUTIONS[self.state]

    @property
    def plan(self) -> Dict[str, Any]:
        """The first record: what the plan left for later, see `ovl1.migrate.plan`."""
        return self.records[0] if self.records else {}

    @property
    def is_under_way(self) -> bool:
        """Whether steps are still to be done, and none was taken back."""
        return self.state in (PLANNED, BEGUN, DONE)

    @property
    def is_switched(self) -> bool:
        """Whether the new store has been put into place, whole."""
        return self.state in (SWITCHED, VERIFIED)

    @property
    def is_being_undone(self) -> bool:
        """Whether the way back was begun, which is the only way then."""
        return any(record["event"] == UNDOING for record in self.records)

    @property
    def certificate(self) -> str:
        """The digest of the last certificate; empty if nothing was proved, or quickly."""
        verified = [record for record in self.records if record["event"] == VERIFIED]
        proofs = [proof for proof in self.results("proof") if not proof.get("quick")]
        found = [*proofs, *verified]
        return str(found[-1]["certificate"]) if found else ""

    def results(self, name: str) -> Iterator[Dict[str, Any]]:
        """What the steps that are done have left under `name`."""
        for record in self.done().values():
            if record["result"] and name in record["result"]:
                yield record["result"][name]

    def done(self) -> Dict[int, Dict[str, Any]]:
        """The records of the steps that are done, by the steps' numbers."""
        return {record["step"]: record for record in self.records if record["event"] == DONE}

    def to_undo(self) -> List[int]:
        """Numbers of the steps that were begun, done or not, and not undone; the last one first."""
        return sorted(self._steps(BEGUN) - self._steps(UNDONE), reverse=True)

    def _steps(self, event: str) -> Set[int]:
        return {record["step"] for record in self.records if record["event"] == event}
