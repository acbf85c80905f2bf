"""What a store takes in the overlay2 layout, counted by walking it as the conversion would.

All whiteouts share one inode. The figures are exact as long as no inode is at its limit of links:
then a copy takes the place of a link.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterator, List, Sequence

from ovl1.driver.convert import Conversion, content, naming
from ovl1.driver.overlay2 import driver_inodes
from ovl1.layer.build import Built, count
from ovl1.layer.delta import TIME_ONLY, Absent, Enter, Event, Leave
from ovl1.model import Progress, no_progress
from ovl1.numberset import NumberSet
from ovl1.store.store import Store

_HOME = 2
"""Inodes of ``overlay2/`` and ``overlay2/l/``."""


@dataclass
class Cost:
    """Inodes and bytes of the converted store."""

    built: Built = field(default_factory=Built)
    driver: int = _HOME
    """Inodes of layer directories and the driver's own files."""
    kept: int = 0
    """Distinct old inodes that the new layers go on using."""
    for_times: int = 0
    """Directories that are there for nothing but their time, in layers that nothing writes to
    (see `delta`)."""

    @property
    def new_inodes(self) -> int:
        """Inodes needed while both stores exist, without the copy of the metadata."""
        return self.built.new_inodes + self.driver

    @property
    def final_inodes(self) -> int:
        """Inodes of the new driver's home once the old one has been purged."""
        return self.new_inodes + self.kept


def cost_of(
    store: Store,
    layers: Sequence[Conversion],
    *,
    keep_directory_times: bool = True,
    copies: bool = False,
    progress: Progress = no_progress,
) -> Cost:
    """Count what converting `layers` makes; see `ovl1.driver.convert.conversions`.

    Args:
        copies: the new store shares nothing with the old one.

    Raises:
        BrokenStore, LayerError: a layer cannot be converted; says why.
    """
    cost = Cost()
    linked = NumberSet()
    for number, conversion in enumerate(layers):
        progress("comparing layers", number, len(layers))
        events = content(store, conversion, keep_directory_times=keep_directory_times)
        if not conversion.own_copy:
            events = _watched(events, cost)
        with naming(conversion):
            cost.built += count(events, linked, own_copy=copies or conversion.own_copy)
        cost.driver += driver_inodes(
            has_lowers=bool(conversion.lowers), has_children=conversion.has_children
        )
    progress("comparing layers", len(layers), len(layers))
    cost.kept = len(linked)
    return cost


def _watched(events: Iterator[Event], cost: Cost) -> Iterator[Event]:
    """Pass the events on, and count the directories that hold nothing new."""
    only_time: List[bool] = []
    for event in events:
        if isinstance(event, Enter):
            only_time.append(event.reason == TIME_ONLY)
        elif isinstance(event, Leave):
            if only_time.pop():
                cost.for_times += 1
            elif only_time:
                only_time[-1] = False
        elif not isinstance(event, Absent):
            only_time[-1] = False
        yield event
