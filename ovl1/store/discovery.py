"""Which stores a data-root holds, before anything in them is read.

Docker takes a driver for one that was used before if its directory exists and is not empty; a store
without trees (images without layers, or trees lost) is told by its metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Container, List, Optional, Tuple

from ovl1.errors import BrokenStore, Refused, WrongUsage
from ovl1.linux.beneath import DIR
from ovl1.store import barrier
from ovl1.store.folder import Folder, explained
from ovl1.store.layout import MIGRATION, OVERLAY, OVERLAY2, Layout

DRIVERS = (
    OVERLAY,
    OVERLAY2,
    "aufs",
    "devicemapper",
    "btrfs",
    "zfs",
    "vfs",
    "fuse-overlayfs",
)
"""The storage drivers that Docker ever had, by the names of their directories."""

_NEVER_LEGACY = (OVERLAY2, "fuse-overlayfs")  # Both are younger than Docker 1.10.
_SUB_ROOT = re.compile(r"[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class FoundStore:
    """One driver's store."""

    driver: str
    path: Path
    is_legacy: bool
    """Whether its images are still in the form before Docker 1.10, in ``graph/``."""
    has_images: bool
    """Whether ``image/<driver>/`` exists: the form since Docker 1.10."""
    has_trees: bool
    """Whether the driver's directory holds anything."""


@dataclass(frozen=True)
class DataRoot:
    """What a data-root holds."""

    path: Path
    """Without symbolic links."""
    stores: Tuple[FoundStore, ...]
    sub_roots: Tuple[Path, ...]
    """Data-roots of their own, ``<uid>.<gid>``, that user namespaces made."""
    converted: bool
    """Whether ``graph/`` is only what an upgrade to the form since 1.10 left behind."""
    half_migrated: bool = False
    """Whether a migration is at work here, or was stopped, and neither store is to be used."""

    def refuse_if_half_migrated(self) -> None:
        """Keep away from what is neither the old store nor the new one.

        Raises:
            Refused: a migration is at work here, or was stopped half-way.
        """
        if self.half_migrated:
            raise Refused(
                f"a migration in {self.path} is not finished",
                details="It is at work, or was stopped half-way; until it is finished or taken "
                "back, nothing else may use the stores here.",
                resolution="`ovl1 migrate status` tells how far it came, and what to run.",
            )

    def store(self, driver: str) -> Optional[FoundStore]:
        """The store of one driver, if there is one."""
        return next((store for store in self.stores if store.driver == driver), None)

    @property
    def drivers(self) -> Tuple[str, ...]:
        """The drivers that Docker would say were used here before."""
        return tuple(store.driver for store in self.stores if store.has_trees)


def discover(data_root: Path) -> DataRoot:
    """Look what a data-root holds.

    Raises:
        WrongUsage: there is no such directory.
        NotPossibleHere: this user may not read it.
    """
    try:
        path = data_root.resolve(strict=True)
    except PermissionError as error:
        raise explained(error, data_root) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13.
        raise _no_data_root(data_root) from error
    try:
        with Folder.open(path, path) as folder:
            entries = {name.name: name.kind for name in folder.names()}
    except BrokenStore as error:
        raise _no_data_root(data_root) from error
    found = [_store(path, driver, has_graph=b"graph" in entries) for driver in DRIVERS]
    subs = [name.decode() for name, kind in entries.items() if kind == DIR and _is_sub(name)]
    return DataRoot(
        path=path,
        stores=tuple(store for store in found if store is not None),
        sub_roots=tuple(path / name for name in sorted(subs)),
        converted=b"graph" in entries and b".migration-v1-images.json" in entries,
        half_migrated=_is_half_migrated(path, entries),
    )


def _is_half_migrated(path: Path, entries: Container[bytes]) -> bool:
    """Told by the barriers; a data-root that is being made anew has none, but no store either."""
    if any(barrier.is_barrier(path / driver) for driver in (OVERLAY, OVERLAY2)):
        return True
    homes = {OVERLAY.encode(), OVERLAY2.encode()}
    return MIGRATION.encode() in entries and not any(name in entries for name in homes)


def _is_sub(name: bytes) -> bool:
    return _SUB_ROOT.fullmatch(name.decode("ascii", "replace")) is not None


def _no_data_root(path: Path) -> WrongUsage:
    return WrongUsage(
        f"{path} is no directory",
        resolution="Give Docker's data directory with --data-root; `docker info` tells it as "
        "Docker Root Dir.",
    )


def _names(data_root: Path, path: Path) -> List[bytes]:
    """The names in a directory; none if it is missing, a link, or no directory."""
    try:
        with Folder.open(data_root, path) as folder:
            return [name.name for name in folder.names()]
    except BrokenStore:
        return []


def _store(data_root: Path, driver: str, *, has_graph: bool) -> Optional[FoundStore]:
    layout = Layout(data_root, driver)
    has_trees = bool(_names(data_root, layout.home))
    has_images = b"layerdb" in _names(data_root, layout.image)
    if not has_trees and not has_images:
        return None
    is_legacy = has_graph and not has_images and driver not in _NEVER_LEGACY
    return FoundStore(driver, layout.home, is_legacy, has_images, has_trees)
