"""The one error root: what happened, what it means, what to do next.

Each class owns the exit code that the command line gives for it, so that scripts can tell
"refused, nothing changed" from "failed half-way". Library code raises these; only the command
line prints them. System calls stay ``OSError`` until somebody knows what the failure means.
"""

from __future__ import annotations

from typing import Sequence

_MAX_SHOWN = 10


class OvlError(Exception):
    """Something that ovl1 can explain.

    Args:
        brief: one sentence, what happened.
        details: what it means, where; may have several lines.
        resolution: what the user can do next, a command where there is one.
    """

    exit_code = 1

    def __init__(self, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        return "\n".join(part for part in (self.brief, self.details, self.resolution) if part)


class CheckFailed(OvlError):
    """A check ran to its end and found something wrong."""

    exit_code = 1


class WrongUsage(OvlError):
    """The request itself makes no sense: an unknown image, an ambiguous id."""

    exit_code = 2


class Refused(OvlError):
    """Not done, for safety; nothing was changed."""

    exit_code = 3


class BrokenStore(Refused):
    """The store on disk is not what it must be; nothing was changed."""


class LayerError(Refused):
    """A layer (its tar, tar-split or tree) cannot be represented or trusted."""


class ArchiveError(Refused):
    """An archive of images is damaged, or not what its own manifest says."""


class HalfDone(OvlError):
    """A change stopped half-way; the resolution says what to run next."""

    exit_code = 4


class NotPossibleHere(OvlError):
    """This host lacks an ability: a kernel feature, a program, a privilege."""

    exit_code = 5


def listed(lines: Sequence[str]) -> str:
    """Details that are a list, of which only the first are shown."""
    shown = list(lines[:_MAX_SHOWN])
    if len(lines) > _MAX_SHOWN:
        shown.append(f"... and {len(lines) - _MAX_SHOWN} more")
    return "\n".join(shown)
