"""The journal of a migration: what was planned, and each step before and after it was done.

One JSON object per line, each fsynced before the work goes on. The state of a migration is read
from here, never guessed from what exists. A last line cut short by a crash was not yet relied on
by anything and is dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from ovl1.errors import BrokenStore
from ovl1.linux.durable import append_line

VERSION = 1

PLANNED, BUILT, BEGUN, DONE = "planned", "built", "begun", "done"
SWITCHED, VERIFIED, PURGING = "switched", "verified", "purging"
UNDOING, UNDONE = "undoing", "undone"
EMPTY = "empty"
"""Not an event: there is a journal, or the directory for one, and nothing in it."""

_WORDS = {
    EMPTY: "interrupted before it changed anything, or after it was taken back or purged",
    PLANNED: "interrupted while the new layers were being made; Docker still uses the old ones",
    BUILT: "the new layers are made but not yet in place; Docker still uses the old ones",
    BEGUN: "interrupted while the new layers were being put into place",
    DONE: "interrupted while the new layers were being put into place",
    SWITCHED: "finished: Docker finds an overlay2 store; not yet verified",
    VERIFIED: "finished and verified: Docker finds an overlay2 store",
    UNDOING: "interrupted while it was being rolled back",
    UNDONE: "interrupted while it was being rolled back",
    PURGING: "finished; interrupted while the old layers were being deleted",
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
            BrokenStore: it exists but is none of ours, or of a newer version.
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

    @property
    def state(self) -> str:
        """The last event."""
        return str(self.records[-1]["event"]) if self.records else EMPTY

    @property
    def words(self) -> str:
        """The state, for people."""
        return _WORDS[self.state]

    @property
    def plan(self) -> Dict[str, Any]:
        """What the plan left for later: see `ovl1.migrate.engine`."""
        return self.records[0] if self.records else {}

    @property
    def is_switched(self) -> bool:
        """Whether the new store has been put into place, whole."""
        return self.state in (SWITCHED, VERIFIED)

    def has(self, event: str) -> bool:
        """Whether an event was recorded, whatever came after it."""
        return any(record["event"] == event for record in self.records)

    def to_undo(self) -> List[int]:
        """Numbers of the steps that were begun, done or not, and not undone; the last one first."""
        begun, undone = (
            {record["step"] for record in self.records if record["event"] == event}
            for event in (BEGUN, UNDONE)
        )
        return sorted(begun - undone, reverse=True)
