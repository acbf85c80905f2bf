"""The report on a data-root's inodes, as data; `ovl1.inodes.attribute` makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Tuple

from ovl1.inodes.heavy import PathUse
from ovl1.inodes.links import Linked
from ovl1.inodes.tally import Counts

if TYPE_CHECKING:
    from ovl1.driver.cost import Cost


@dataclass(frozen=True)
class LayerUse:
    """What one directory of the driver's home takes."""

    name: str
    """The directory's: cache-id, mount-id or init-id."""
    kind: str
    """``image``, ``container``, ``init``, ``buildkit``; ``unused`` if nothing refers to it;
    ``leftover`` if it is no layer at all, as after an interrupted removal."""
    of: str
    """The image layer's chain id, or the container's id; empty for what belongs to nothing."""
    tree: Counts
    """What the layer holds: its ``root``, ``upper`` or ``diff``. An inode that layers share counts
    in the lowest that has it."""
    overhead: int
    """Inodes of all else in its directory: what the driver keeps, or left there unfinished."""
    overhead_bytes: int = 0

    @property
    def inodes(self) -> int:
        """All of it."""
        return self.tree.inodes + self.overhead

    @property
    def bytes(self) -> int:
        """All of it, on the disk; 0 if nobody asked."""
        return self.tree.bytes + self.overhead_bytes


@dataclass(frozen=True)
class Share:
    """What an image, a container, or all that is of one kind takes."""

    id: str
    """The image's or container's, or the kind of `LayerUse`."""
    names: Tuple[str, ...]
    """An image's tags, or the container's name."""
    layers: int
    """How many layers it has; of a container only its own."""
    tree: Counts
    """What all its layers hold."""
    overhead: int
    """Inodes that the driver keeps around them."""
    own: int
    """Inodes of those layers that nothing else stands on. Removing it frees them, unless something
    outside of Docker's records links to them: see `ovl1.inodes.free`."""
    overhead_bytes: int = 0
    own_bytes: int = 0
    """Bytes on the disk of the same inodes as `own`."""

    @property
    def inodes(self) -> int:
        """Of all its layers."""
        return self.tree.inodes + self.overhead

    @property
    def bytes(self) -> int:
        """Of all its layers, on the disk; 0 if nobody asked."""
        return self.tree.bytes + self.overhead_bytes

    @property
    def shared(self) -> int:
        """Inodes of those layers that others stand on, too."""
        return self.inodes - self.own


@dataclass(frozen=True)
class FileSystem:
    """The file system's view, of the moment before the first directory was counted."""

    kind: str
    """As in mountinfo: ``ext4``, ``xfs`` ..."""
    files: int
    """Inodes it has; 0 if it does not count them (btrfs)."""
    used: int
    """Inodes in use."""
    own: int
    """What the file system keeps for itself, outside of the data-root."""
    path: str = ""
    """The directory of the data-root by which it was found."""
    docker: int = 0
    """Inodes of the data-root that lie on it."""

    @property
    def free(self) -> int:
        """Inodes left."""
        return self.files - self.used

    @property
    def elsewhere(self) -> int:
        """Used inodes that are neither of this data-root nor the file system's own."""
        return self.used - self.docker - self.own


@dataclass(frozen=True)
class Report:
    """All inodes of a data-root; each is counted once."""

    data_root: Path
    driver: str
    """``overlay`` or ``overlay2``: whose layers are told apart."""
    layers: Tuple[LayerUse, ...]
    """Each directory of the driver's home, parents before children."""
    images: Tuple[Share, ...]
    containers: Tuple[Share, ...]
    """Each with its init layer, and without the image that it stands on."""
    kinds: Tuple[Share, ...]
    """All layers, by what they belong to; the id is the kind."""
    home: int
    """The driver's home directory itself, and what in it is no layer's."""
    others: Tuple[Tuple[str, Counts], ...]
    """The other top-level directories by name, and "." for the data-root itself with its files."""
    file_systems: Tuple[FileSystem, ...]
    """That of the data-root, and that of the driver's home if it is another one."""
    paths: Tuple[PathUse, ...]
    """The heaviest directory trees of all layers, heaviest first."""
    linked: Tuple[Linked, ...]
    """The inodes nearest to the limit of links, nearest first."""
    overlay2: Optional[Cost]
    """What the same store takes as overlay2; None for a store that is no v1 store."""
    no_overlay2: str = ""
    """Why that cannot be told."""
    unreadable: Tuple[str, ...] = ()
    """Directories below the data-root of which nothing but the directory is counted."""
    moving: bool = False
    """Something was changed in the data-root while it was counted: the figures are of no single
    moment. If it is False, they are those of the beginning."""
    with_bytes: bool = False
    """Whether sizes on the disk were asked for."""
    home_bytes: int = 0

    @property
    def file_system(self) -> FileSystem:
        """The data-root's."""
        return self.file_systems[0]

    @property
    def in_layers(self) -> int:
        """Inodes of the driver's home."""
        return self.home + sum(layer.inodes for layer in self.layers)

    @property
    def total(self) -> int:
        """Inodes of the data-root."""
        return self.in_layers + sum(counts.inodes for _, counts in self.others)

    @property
    def bytes(self) -> int:
        """On the disk, of the data-root; 0 if nobody asked."""
        layers = self.home_bytes + sum(layer.bytes for layer in self.layers)
        return layers + sum(counts.bytes for _, counts in self.others)

    @property
    def total_as_overlay2(self) -> Optional[int]:
        """Inodes of the data-root after migrating and purging."""
        if self.overlay2 is None:
            return None
        return self.total - self.in_layers + self.overlay2.final_inodes

    @property
    def elsewhere(self) -> int:
        """Used inodes of the file system that are neither Docker's nor the file system's own."""
        return self.file_system.elsewhere

    @property
    def tags(self) -> Dict[str, str]:
        """The image's id by each of its names."""
        return {name: image.id for image in self.images for name in image.names}

    @property
    def more_layers(self) -> Optional[int]:
        """How many layers still fit before ``link`` fails with ``EMLINK``; None: no such limit."""
        fitting = [each.more_layers for each in self.linked if each.more_layers is not None]
        return min(fitting, default=None)
