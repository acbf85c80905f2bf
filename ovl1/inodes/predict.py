"""The same store in other layouts: what its images and containers would take there.

A v1 store as overlay2 is what migrating it makes (`ovl1.driver.cost`), to the inode; in place some
of it stays as containers left it. The rest is what loading its layers' tars would make
(`ovl1.inodes.lineage`), by the headers that tar-split keeps, with its containers' own changes over
that (`ovl1.inodes.containers`). Limits: layers that only BuildKit knows are left out; no inode
reaches its limit of links.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Collection, Dict, List, Optional, Tuple

from ovl1.driver.convert import conversions
from ovl1.driver.cost import cost_of
from ovl1.driver.overlay2 import driver_inodes
from ovl1.errors import BrokenStore, NotPossibleHere, OvlError
from ovl1.formats.whiteouts import shown
from ovl1.inodes.containers import Containers
from ovl1.inodes.found import Found
from ovl1.inodes.lineage import (
    DOCKER_OVERLAY,
    IDEAL,
    OVERLAY,
    OVERLAY2,
    VFS,
    Figures,
    Lineages,
    recorded,
)
from ovl1.inodes.scan import Scanner
from ovl1.linux.beneath import Directory
from ovl1.model import ChainId, ImageId, Progress, no_progress
from ovl1.store.layerdb import LayerRecord
from ovl1.store.store import Store

LAYOUTS = (DOCKER_OVERLAY, OVERLAY, OVERLAY2, VFS, IDEAL)
_HOME = {OVERLAY: 1, DOCKER_OVERLAY: 1, OVERLAY2: 2, VFS: 3, IDEAL: 1}
"""Of a driver with nothing in it; vfs has a device node for quotas beside its ``dir/``."""
_AROUND = {OVERLAY: 1, DOCKER_OVERLAY: 1, VFS: 0, IDEAL: 0}
"""Of the driver's around an image layer's tree."""


@dataclass
class Total:
    """A driver's home in one layout."""

    trees: int = 0
    """Inodes of the layers' trees."""
    driver: int = 0
    """Of the driver's directories and files around them."""
    unknown: str = ""
    """Why it cannot be told."""

    @property
    def inodes(self) -> int:
        """All of it."""
        return self.trees + self.driver


@dataclass(frozen=True)
class ImageFigures:
    """What an image takes: all its layers, as if it had them to itself."""

    image_id: ImageId
    names: Tuple[str, ...]
    layers: int
    layouts: Figures

    def factor(self, one: str, other: str) -> Optional[float]:
        """How many times as many inodes it takes in one layout as in the other."""
        if not self.layouts.get(other) or one not in self.layouts:
            return None
        return self.layouts[one] / self.layouts[other]


@dataclass
class Prediction:
    """A store in several layouts."""

    driver: str
    home: int
    """Inodes of the driver's home as it is."""
    layouts: Dict[str, Total]
    rest: int
    """Inodes of the data-root outside of the driver's home, which stay as they are."""
    images: List[ImageFigures] = field(default_factory=list)
    left_out: int = 0
    """Layers in no figure but the present one and that of migrating."""
    moving: bool = False
    """The store was changed while it was counted: the figures are of no single moment."""


def predict(
    store: Store,
    layouts: Collection[str] = LAYOUTS,
    *,
    keep_directory_times: bool = True,
    progress: Progress = no_progress,
) -> Prediction:
    """Tell what the store would take in each of the layouts.

    Args:
        keep_directory_times: as a migration would be told to.

    Raises:
        NotPossibleHere: this user may not read all of it.
        OSError: a directory cannot be read.
    """
    home, rest, moving = _counted(store)
    driver = store.layout.driver
    made = Prediction(driver, home, {}, rest, left_out=len(store.orphans()), moving=moving)
    predictor = _Predictor(store, progress)
    reason = predictor.run()
    for layout in LAYOUTS:
        if layout == OVERLAY2 in layouts and driver == OVERLAY:
            made.layouts[layout] = _migrated(store, progress, keep=keep_directory_times)
        elif layout in layouts:
            total = made.layouts[layout] = predictor.totals[layout]
            total.unknown = reason or predictor.refused(layout)
    made.images = [] if reason else predictor.images()
    return made


def _migrated(store: Store, progress: Progress, *, keep: bool) -> Total:
    try:
        cost = cost_of(store, conversions(store), keep_directory_times=keep, progress=progress)
    except OvlError as error:
        return Total(unknown=error.brief)
    return Total(cost.final_inodes - cost.driver, cost.driver)


class _Predictor:
    def __init__(self, store: Store, progress: Progress) -> None:
        self.totals = {layout: Total(driver=_HOME[layout]) for layout in LAYOUTS}
        self._store = store
        self._progress = progress
        self._lines = Lineages(LAYOUTS)
        self._figures: Dict[ChainId, Figures] = {}
        self._around: Dict[ChainId, Figures] = {}

    def refused(self, layout: str) -> str:
        """Why the layout cannot hold one of the layers; empty if it can."""
        error = self._lines.refused.get(layout)
        return error.brief if error is not None else ""

    def run(self) -> str:
        """Go through all layers; why it stopped, if it did."""
        try:
            self._add_images()
            self._add_containers()
        except OvlError as error:
            return error.brief
        return ""

    def images(self) -> List[ImageFigures]:
        """What each image takes; one that lacks a layer is left out."""
        found = []
        for image_id, image in sorted(self._store.images.items()):
            try:
                chain = self._store.chain(image)
            except BrokenStore:
                continue
            figures = {
                layout: sum(
                    self._figures[record.chain_id][layout] + self._around[record.chain_id][layout]
                    for record in chain
                )
                for layout in LAYOUTS
                if all(layout in self._figures[record.chain_id] for record in chain)
            }
            tags = tuple(self._store.references.tags_of(image_id))
            found.append(ImageFigures(image_id, tags, len(chain), figures))
        return found

    def _add_images(self) -> None:
        table = self._store.parts.layers
        order = sorted(table.layers, key=lambda chain_id: (table.depth(chain_id), chain_id))
        parents = {record.parent for record in table.layers.values()}
        parents.update(mount.parent for mount in self._store.mounts.values())
        for number, chain_id in enumerate(order):
            self._progress("reading layers", number, len(order))
            self._add_image(table.layers[chain_id], has_children=chain_id in parents)
        self._progress("reading layers", len(order), len(order))

    def _add_image(self, record: LayerRecord, *, has_children: bool) -> None:
        figures = self._lines.add(record.chain_id, record.parent, recorded(record))
        lowers = record.parent is not None
        stacked = driver_inodes(has_lowers=lowers, has_children=has_children)
        around = {**_AROUND, OVERLAY2: stacked}
        self._figures[record.chain_id], self._around[record.chain_id] = figures, around
        for layout, total in self.totals.items():
            total.trees += figures.get(layout, 0)
            total.driver += around[layout]

    def _add_containers(self) -> None:
        containers = Containers(self._store, self._lines)
        for mount in self._store.mounts.values():
            for layout, taken in containers.taken(mount).items():
                self.totals[layout].trees += taken.trees
                self.totals[layout].driver += taken.driver


def _counted(store: Store) -> Tuple[int, int, bool]:
    """Inodes of the driver's home, and of the rest of the data-root; whether they were changing."""
    scanner, mine, rest = Scanner(), Found(), Found()
    with Directory.open(store.layout.data_root) as root:
        home = os.fsencode(store.layout.home.name)
        with root.child(home) as directory:
            scanner.scan(directory, mine)
        scanner.scan(root, rest, without=[home])
    return _inodes(mine), _inodes(rest), mine.moving or rest.moving


def _inodes(found: Found) -> int:
    for path in found.unreadable:
        raise NotPossibleHere(
            f"{shown(path)} cannot be read", resolution="Run this as root, as for all of Docker's."
        )
    directories = sum(segment.directories for segment in found.segments)
    return directories + len(found.files) + len(found.symlinks) + len(found.specials)
