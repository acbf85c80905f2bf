"""The daemon that is to use the new store: what it must be told, and telling it.

daemon.json lies outside the data-root. It is changed by one step of the migration, which keeps the
old file beside it as the very inode it is; that one stays when the migration is purged.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from ovl1.errors import BrokenStore, Refused, listed
from ovl1.linux import durable
from ovl1.migrate.plan import Plan
from ovl1.migrate.steps import Result, Step
from ovl1.store import daemonjson
from ovl1.store.acceptance import DRIVER_KEY, Acceptance, acceptance, root_key
from ovl1.store.discovery import discover
from ovl1.store.layout import OVERLAY, OVERLAY2

_KEPT = ".ovl1-old"
_SUB_ROOT = re.compile(r"[0-9]+\.[0-9]+")


def judge(release: str, data_root: Path, *, to: Optional[Path], config: Path) -> Acceptance:
    """What an engine will do with what a migration of `data_root` makes, or has made.

    Args:
        to: the data-root that is made, if another.
        config: its daemon.json; need not exist.

    Raises:
        WrongUsage: nothing is known of that release.
        Refused: daemon.json cannot be read.
    """
    drivers = [] if to else [d for d in discover(data_root).drivers if d not in (OVERLAY, OVERLAY2)]
    root = str(to.resolve()) if to else ""
    return acceptance(release, [*drivers, OVERLAY2], daemonjson.parsed(config), root)


def refuse_unaccepted(found: Acceptance, config: Path) -> None:
    """Refuse to make what the engine would not use.

    Raises:
        Refused: says why it would not.
    """
    if not found.accepts:
        raise Refused(
            f"Docker {found.engine} would not use the new store",
            details=listed(found.problems),
            resolution=f"Change that in {config}, then run this again.",
        )


def check_file(path: Path, *, data_root: Path, to: Optional[Path]) -> Path:
    """daemon.json must be one that can be changed; it need not exist.

    Returns:
        The file itself, if `path` is a symbolic link.

    Raises:
        Refused: it cannot be.
    """
    path = path.resolve()
    if not path.parent.is_dir():
        raise Refused(f"there is no directory {path.parent}", resolution="Make it first.")
    if to is not None and _SUB_ROOT.fullmatch(data_root.name):
        raise Refused(
            "daemon.json does not name the data-root of a user namespace, but the one it lies in",
            resolution="Leave out --write-daemon-json, and change the file by hand.",
        )
    daemonjson.parsed(path)
    return path


def kept_name(path: Path) -> Path:
    """Where the old file is kept; never where that of an earlier migration is."""
    kept, number = path.with_name(path.name + _KEPT), 1
    while os.path.lexists(kept):
        number += 1
        kept = path.with_name(f"{path.name}{_KEPT}-{number}")
    return kept


def daemon_steps(plan: Plan) -> List[Step]:
    """The step that changes daemon.json, if the plan has one.

    It belongs before the last one that lets Docker in.
    """
    if plan.daemon_json is None or plan.daemon_json_kept is None:
        return []
    marker = plan.area.home / "no-daemon.json"
    root = plan.data_root if plan.source_root else None
    return [WriteDaemonJson(plan.daemon_json, plan.daemon_json_kept, marker, root)]


@dataclass(frozen=True)
class WriteDaemonJson:
    """daemon.json, replaced by one that names the new driver, and a data-root that is new."""

    path: Path
    kept: Path
    """The old file."""
    none: Path
    """A file that says that there was no old file."""
    data_root: Optional[Path] = None

    @property
    def what(self) -> str:
        """See `Step`."""
        also = f" and {self.data_root}" if self.data_root else ""
        return f"name {OVERLAY2}{also} in {self.path}"

    def do(self) -> Result:
        """See `Step`.

        Raises:
            BrokenStore: the file is no JSON object.
        """
        if not self.kept.exists() and not self.none.exists():
            self._keep()
        if self.none.exists():
            durable.write_file(self.path, self._made(b""), mode=0o644)
            return None
        status = self.kept.stat()
        durable.write_file(
            self.path,
            self._made(self.kept.read_bytes()),
            mode=status.st_mode & 0o7777,
            owner=(status.st_uid, status.st_gid),
        )
        return None

    def undo(self) -> None:
        """See `Step`; what others have changed in the file since stays changed."""
        durable.temporary(self.path).unlink(missing_ok=True)
        if self.none.exists():
            self._undo_making()
        elif self.kept.exists():
            self._undo_change()

    def _keep(self) -> None:
        if self.path.exists():
            # Whoever it is that wrote it must not find it changed through this name.
            os.link(self.path, self.kept)
            durable.sync_directory(self.kept.parent)
        else:
            durable.write_file(self.none, b"", mode=0o600)

    def _undo_making(self) -> None:
        if self.path.exists() and not self._is_changed_since(b""):
            self.path.unlink()
            durable.sync_directory(self.path.parent)
        self.none.unlink()
        durable.sync_directory(self.none.parent)

    def _undo_change(self) -> None:
        if self.path.exists() and self.path.samefile(self.kept):
            # rename(2) leaves both names of one inode as they are.
            self.kept.unlink()
            durable.sync_directory(self.kept.parent)
        elif not self._is_changed_since(self.kept.read_bytes()):
            durable.rename(self.kept, self.path)

    def _is_changed_since(self, before: bytes) -> bool:
        """Whether others have changed the file; then ours is taken out of it, if it can be."""
        if not self.path.exists():
            return False
        now = self.path.read_bytes()
        try:
            ours = self._made(before)
            if now == ours:
                return False
            text = daemonjson.restored(now, before, self._values(before))
        except BrokenStore:
            return True
        status = self.path.stat()
        owner = status.st_uid, status.st_gid
        durable.write_file(self.path, text, mode=status.st_mode & 0o7777, owner=owner)
        return True

    def _made(self, before: bytes) -> bytes:
        return daemonjson.changed(before, self._values(before))

    def _values(self, before: bytes) -> Dict[str, str]:
        values = {DRIVER_KEY: OVERLAY2}
        if self.data_root is not None:
            values[root_key(daemonjson.values(before))] = str(self.data_root)
        return values
