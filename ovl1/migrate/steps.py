"""The steps of a migration, each of which can be done again and undone.

A step looks at the disk before it acts, in both directions, because the journal knows only that it
was begun: so doing and undoing are idempotent. A state in which neither makes sense is an error,
not a guess. Each step is durable when it returns.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Protocol

from ovl1.errors import HalfDone
from ovl1.linux import durable
from ovl1.migrate.used import refuse_if_used
from ovl1.store import barrier
from ovl1.store.containers import replace_driver

Result = Optional[Dict[str, Any]]
"""Figures that the journal keeps, for whoever reports what was done."""


class Step(Protocol):
    """A change that can be undone."""

    @property
    def what(self) -> str:
        """In words, for the plan and the journal."""

    def do(self) -> Result:
        """Make the change; done already, or in part, is fine."""

    def undo(self) -> None:
        """Take it back; not done yet, or in part, is fine."""


@dataclass(frozen=True)
class Bar:
    """A barrier, where there is nothing."""

    place: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"keep Docker away from {self.place}"

    def do(self) -> Result:
        """See `Step`."""
        barrier.put(self.place)
        return None

    def undo(self) -> None:
        """See `Step`."""
        barrier.remove(self.place)


@dataclass(frozen=True)
class Unbar:
    """A barrier no more."""

    place: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"no longer keep Docker away from {self.place}"

    def do(self) -> Result:
        """See `Step`."""
        barrier.remove(self.place)
        return None

    def undo(self) -> None:
        """See `Step`."""
        barrier.put(self.place)


@dataclass(frozen=True)
class NobodyElse:
    """A look whether somebody came just before the barrier was there."""

    data_root: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"check that nobody uses {self.data_root}"

    def do(self) -> Result:
        """See `Step`."""
        refuse_if_used(self.data_root)
        return None

    def undo(self) -> None:
        """See `Step`."""


@dataclass(frozen=True)
class Swap:
    """A directory and a barrier that change places, so that at no instant there is neither."""

    source: Path
    target: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"rename {self.source} to {self.target}, and keep Docker away from {self.source}"

    def do(self) -> Result:
        """See `Step`."""
        _swap(self.source, self.target)
        return None

    def undo(self) -> None:
        """See `Step`."""
        _swap(self.target, self.source)


def _swap(source: Path, target: Path) -> None:
    if barrier.is_barrier(source) and target.is_dir():
        return
    if not (source.is_dir() and barrier.is_barrier(target)):
        # Without an exchange a crash may leave the directory moved, and no barrier yet.
        if os.path.lexists(source) or not target.is_dir():
            _move(source, target)
        barrier.put(source)
        return
    try:
        durable.exchange(source, target)
    except OSError as err:
        if err.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        barrier.remove(target)
        durable.rename(source, target)
        barrier.put(source)


@dataclass(frozen=True)
class Move:
    """A rename within the data-root's file system."""

    source: Path
    target: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"rename {self.source} to {self.target}"

    def do(self) -> Result:
        """See `Step`."""
        _move(self.source, self.target)
        return None

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

    def do(self) -> Result:
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
        return None

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
