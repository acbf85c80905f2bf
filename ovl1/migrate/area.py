"""Where a migration keeps its things in the data-root, so that Docker sees none of it.

::

    .ovl1/journal           what was planned and what has been done
    .ovl1/new/overlay2      the layers while they are made
    .ovl1/new/image/overlay2
    .ovl1/aside             an empty overlay2 store that was in the way
    .ovl1/configs/<cid>     each container's config.v2.json as it was: the same inode
    .ovl1/certificate.json  what was proved
    .ovl1/whiteout          the inode of all whiteouts that are made
    .ovl1/squashed/<id>     what the layer store is to know of a layer made of several; the id is
                            the chain id of the uppermost of them
    .ovl1/layers/<id>       in place: what was done to a layer, and what it takes to undo it
    .ovl1/no-daemon.json    only if there was no daemon.json, and now is
    overlay.ovl1-old        the old layers
    image/overlay.ovl1-old  the old metadata
    overlay, overlay2       files that keep Docker away while neither store is in place

A migration is in progress, or finished and not yet purged, exactly if the journal exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ovl1.model import ContainerId
from ovl1.store.layout import MIGRATION, OVERLAY, OVERLAY2, Layout

OLD_DRIVER = OVERLAY + ".ovl1-old"
"""A name that no Docker engine takes for a storage driver's."""


@dataclass(frozen=True)
class Area:
    """The paths of a migration in `data_root`; no path here holds a symbolic link."""

    data_root: Path
    source_root: Optional[Path] = None
    """Where the old store lies and stays, if not in `data_root`."""

    @property
    def home(self) -> Path:
        """The directory for everything that is neither old nor new store."""
        return self.data_root / MIGRATION

    @property
    def journal(self) -> Path:
        """The journal; see `ovl1.migrate.journal`."""
        return self.home / "journal"

    @property
    def configs(self) -> Path:
        """The containers' configurations as they were."""
        return self.home / "configs"

    def config(self, container_id: ContainerId) -> Path:
        """One container's configuration as it was."""
        return self.configs / container_id

    @property
    def certificate(self) -> Path:
        """What was proved; see `ovl1.migrate.certificate`."""
        return self.home / "certificate.json"

    @property
    def whiteout(self) -> Path:
        """The inode that new whiteouts are further names of."""
        return self.home / "whiteout"

    @property
    def layers(self) -> Path:
        """The records of layers that are converted in place; see `ovl1.migrate.inplace`."""
        return self.home / "layers"

    @property
    def squashed(self) -> Path:
        """The records of layers made of several; see `ovl1.migrate.squash`."""
        return self.home / "squashed"

    @property
    def source(self) -> Layout:
        """The store to be converted, as Docker left it."""
        return Layout(self.source_root or self.data_root, OVERLAY)

    @property
    def staged(self) -> Layout:
        """The new store while it is made."""
        return Layout(self.home / "new", OVERLAY2)

    @property
    def aside(self) -> Layout:
        """The place for an empty overlay2 store that a newer Docker had begun here."""
        return Layout(self.home / "aside", OVERLAY2)

    @property
    def target(self) -> Layout:
        """The new store in place."""
        return Layout(self.data_root, OVERLAY2)

    @property
    def origin(self) -> Layout:
        """Where the old store is while the new one is made."""
        return self.source if self.source_root else self.old

    @property
    def old(self) -> Layout:
        """The converted store, out of Docker's sight."""
        return Layout(self.data_root, OLD_DRIVER)
