"""A finding about the store, as data: reading goes on where Docker's would, and nothing is lost.

An *error* is something that Docker would skip or stumble over; a *note* is harmless, such as what
an interrupted removal left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovl1.errors import OvlError

ERROR, NOTE = "error", "note"


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what to do about it."""

    where: Path
    what: str
    resolution: str = ""
    grade: str = ERROR

    @classmethod
    def of(cls, where: Path, error: OvlError) -> Problem:
        """The finding for an exception that reading `where` raised."""
        return cls(where, error.brief, error.resolution)

    @classmethod
    def note(cls, where: Path, what: str, resolution: str = "") -> Problem:
        """A harmless finding."""
        return cls(where, what, resolution, NOTE)

    @property
    def is_error(self) -> bool:
        """Whether it is more than a note."""
        return self.grade == ERROR
