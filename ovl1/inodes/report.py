"""The report on a data-root's inodes, as data; `ovl1.inodes.attribute` makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from ovl1.driver.cost import Cost
from ovl1.inodes.scan import Counts


@dataclass(frozen=True)
class LayerUse:
    """What one directory of the driver's home takes."""

    name: str
    kind: str
    of: str
    tree: Counts
    """What the layer holds."""
    overhead: int
    """The driver's own directories and files around it."""

    @property
    def inodes(self) -> int:
        """All of it."""
        return self.tree.inodes + self.overhead


@dataclass(frozen=True)
class Share:
    """What an image or a container takes."""

    id: str
    names: Tuple[str, ...]
    layers: int
    tree: Counts
    """What all its layers hold."""
    overhead: int
    """The driver's own directories and files around them."""
    own: int
    """Inodes of those layers that nothing else uses: what removing it frees."""

    @property
    def inodes(self) -> int:
        """Of all its layers."""
        return self.tree.inodes + self.overhead


@dataclass(frozen=True)
class FileSystem:
    """The file system's view."""

    kind: str
    files: int
    """Inodes it has; 0 if it does not count them (btrfs)."""
    used: int
    own: int
    """What the file system keeps for itself, outside of the data-root."""


@dataclass(frozen=True)
class Report:
    """All inodes of a data-root."""

    data_root: Path
    driver: str
    layers: Tuple[LayerUse, ...]
    images: Tuple[Share, ...]
    containers: Tuple[Share, ...]
    home: int
    """The driver's home directory itself, and files that are no layer's."""
    others: Tuple[Tuple[str, Counts], ...]
    """The other top-level directories, and "." for the data-root itself."""
    file_system: FileSystem
    overlay2: Optional[Cost]
    """What the same store takes as overlay2; None for a store that is no v1 store."""
    no_overlay2: str = ""
    """Why that cannot be told."""

    @property
    def in_layers(self) -> int:
        """Inodes of the driver's home."""
        return self.home + sum(layer.inodes for layer in self.layers)

    @property
    def total(self) -> int:
        """Inodes of the data-root."""
        return self.in_layers + sum(counts.inodes for _, counts in self.others)

    @property
    def total_as_overlay2(self) -> Optional[int]:
        """Inodes of the data-root after migrating and purging."""
        if self.overlay2 is None:
            return None
        return self.total - self.in_layers + self.overlay2.final_inodes

    @property
    def elsewhere(self) -> int:
        """Used inodes of the file system that are neither Docker's nor the file system's own."""
        return self.file_system.used - self.total - self.file_system.own
