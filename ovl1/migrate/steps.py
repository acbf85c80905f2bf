"""The steps that put a new store into place, each of which can be undone.

A step looks at the disk before it acts, in both directions, because the journal knows only that it
was begun: so doing and undoing are idempotent. A state in which neither makes sense is an error,
not a guess. Each step is durable when it returns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ovl1.errors import HalfDone
from ovl1.linux import durable
from ovl1.store.containers import replace_driver


class Step(Protocol):
    """A change that can be undone."""

    @property
    def what(self) -> str:
        """In words, for the plan and the journal."""

    def do(self) -> None:
        """Make the change; done already is fine."""

    def undo(self) -> None:
        """Take it back; not done yet is fine."""


@dataclass(frozen=True)
class Move:
    """A rename within the data-root's file system."""

    source: Path
    target: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"rename {self.source} to {self.target}"

    def do(self) -> None:
        """See `Step`."""
        _move(self.source, self.target)

    def undo(self) -> None:
        """See `Step`."""
        _move(self.target, self.source)


def _move(source: Path, target: Path) -> None:
    there, here = os.path.lexists(target), os.path.lexists(source)
    if there == here:
        state = "both exist" if there else "neither exists"
        raise HalfDone(
            f"cannot rename {source} to {target}: {state}",
            details="Something else has changed the data-root during the migration.",
            resolution="Put the directories back as `ovl1 migrate status` tells, then run "
            "`ovl1 migrate rollback` again.",
        )
    if here:
        durable.rename(source, target)


@dataclass(frozen=True)
class SwitchDriver:
    """A container's configuration, replaced by one that names the other driver.

    The old file is kept under another name as the very inode it is, so that undoing restores it
    with everything it had.
    """

    config: Path
    kept: Path
    old: str
    new: str

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"change Driver from {self.old} to {self.new} in {self.config}"

    def do(self) -> None:
        """See `Step`."""
        if not self.kept.exists():
            os.link(self.config, self.kept)
            durable.sync_directory(self.kept.parent)
        status = self.kept.stat()
        durable.write_file(
            self.config,
            replace_driver(self.kept.read_bytes(), self.old, self.new),
            mode=status.st_mode & 0o7777,
            owner=(status.st_uid, status.st_gid),
            times_ns=(status.st_atime_ns, status.st_mtime_ns),
        )

    def undo(self) -> None:
        """See `Step`."""
        if not self.kept.exists():
            return
        if self.config.exists() and self.config.samefile(self.kept):
            # rename(2) leaves both names of one inode as they are.
            self.kept.unlink()
        else:
            # Docker may have removed the container since.
            self.config.parent.mkdir(0o710, exist_ok=True)
            durable.rename(self.kept, self.config)
        temporary = durable.temporary(self.config)
        if temporary.exists():
            temporary.unlink()
        durable.sync_directory(self.config.parent)
