"""What a benchmark has found, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple, Optional

from ovl1.bench.disk import Used
from ovl1.bench.steps import Prediction, Step

NOTHING = Used(None, 0)


class Point(NamedTuple):
    """A store after a step."""

    step: Step
    used: Used
    """More than the empty store."""
    predicted: int
    seconds: float
    """That the step took, until it was on the disk."""

    @property
    def difference(self) -> Optional[int]:
        """Between what was measured and what was predicted; None if inodes are not counted."""
        return None if self.used.inodes is None else self.used.inodes - self.predicted


class Effort(NamedTuple):
    """What making or removing all images took."""

    seconds: float
    peak: int
    """Bytes of memory of the largest process."""


NO_EFFORT = Effort(0, 0)


@dataclass
class Run:
    """One layout on one file system."""

    file_system: str
    layout: str
    empty: Used = NOTHING
    """What the empty store takes on the empty file system."""
    empty_predicted: Optional[int] = None
    """None where nobody can know: a daemon has more than its store."""
    points: List[Point] = field(default_factory=list)
    creation: Effort = NO_EFFORT
    removal: Effort = NO_EFFORT
    left: Used = NOTHING
    """More than the empty store, after everything was removed."""
    left_predicted: int = 0
    refused: str = ""
    """Why the layout cannot hold the images, if so; nothing was built then."""

    @property
    def differences(self) -> List[int]:
        """All that are not what was predicted, by how much."""
        found = [point.difference for point in self.points]
        if self.left.inodes is not None:
            found.append(self.left.inodes - self.left_predicted)
        if self.empty.inodes is not None and self.empty_predicted is not None:
            found.append(self.empty.inodes - self.empty_predicted)
        return [difference for difference in found if difference]


@dataclass
class Result:
    """Of the whole benchmark."""

    steps: List[Step]
    predictions: Dict[str, Prediction]
    """By layout, also of those that cannot be built here."""
    runs: List[Run] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many figures are not what was predicted."""
        return sum(len(run.differences) for run in self.runs)
