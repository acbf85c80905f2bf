"""A data-root as overlay and as overlay2, part by part: where the difference lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional

from ovl1.inodes.report import Report
from ovl1.inodes.tally import Counts
from ovl1.store.layout import OVERLAY2


@dataclass(frozen=True)
class Parts:
    """Inodes of a data-root in one layout."""

    directories: int
    """Of all layers."""
    others: int
    """Everything else that layers hold."""
    driver: int
    """The driver's home directory, and what it keeps around layers."""
    rest: int
    """The data-root without the driver's home."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.directories + self.others + self.driver + self.rest


def together(made: Report) -> Counts:
    """What all layers hold."""
    return sum((use.tree for use in made.layers), Counts())


def comparison(made: Report) -> Dict[str, Parts]:
    """The data-root as it is, and as overlay2 if the report says what it would take."""
    tree, rest = together(made), made.total - made.in_layers
    around = made.home + sum(use.overhead for use in made.layers)
    parts = {made.driver: Parts(tree.directories, tree.inodes - tree.directories, around, rest)}
    cost = made.overlay2
    if cost is not None:
        others = cost.built.new_inodes - cost.built.directories + cost.kept
        parts[OVERLAY2] = Parts(cost.built.directories, others, cost.driver, rest)
    return parts


def fewer_as_overlay2(made: Report) -> Optional[int]:
    """How many inodes overlay2 saves, negative if it takes more; None if that is not known."""
    after = made.total_as_overlay2
    return None if after is None else made.total - after
