"""Inodes of images in each layout: built for real, measured, and compared with the prediction."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from ovl1.bench.builder import Builder, Reading
from ovl1.bench.child import Check, Tell, in_child
from ovl1.bench.disk import Need, made_for, require, used
from ovl1.bench.docker import Docker
from ovl1.bench.dockerd import Program
from ovl1.bench.ours import Ours
from ovl1.bench.results import Effort, Point, Result, Run
from ovl1.bench.steps import Predictions, Source, Step, predict, staying, steps
from ovl1.inodes.lineage import DOCKER_OVERLAY, DOCKER_OVERLAY2, OVERLAY, OVERLAY2
from ovl1.layer.policy import Policy
from ovl1.model import Progress

OURS = {OVERLAY: OVERLAY, OVERLAY2: OVERLAY2}
"""The layouts that ovl1 builds, and their drivers."""
BY_DOCKER = {DOCKER_OVERLAY: OVERLAY, DOCKER_OVERLAY2: OVERLAY2}
"""The layouts that Docker builds, and its drivers."""


@dataclass(frozen=True)
class Wish:
    """What is to be measured."""

    file_systems: Sequence[str]
    layouts: Sequence[str]
    """Those that nobody can build here are predicted only."""
    directory: Path
    """With room for a file system in a file."""
    at: Tuple[int, ...] = ()
    """See `ovl1.bench.steps.steps`."""
    dockerd: Optional[Program] = None
    """What builds Docker's layouts; None if nobody does."""
    policy: Policy = field(default_factory=Policy)

    @property
    def built(self) -> List[str]:
        """The layouts that are built."""
        return [
            name for name in self.layouts if name in OURS or (name in BY_DOCKER and self.dockerd)
        ]


def measure(
    sources: Sequence[Source],
    wish: Wish,
    *,
    progress: Progress,
    finished: Callable[[Run], None] = lambda _: None,
) -> Result:
    """Build the images in each layout on each file system, one after the other.

    Args:
        progress: called all the time; what it raises ends the benchmark, and nothing stays.
        finished: is given each run when it is over.

    Raises:
        NotPossibleHere: not root, no loop device, too little space, or a daemon that does not work.
        OvlError: an image is damaged, or cannot be loaded.
    """
    require(wish.file_systems)
    planned = steps(sources, wish.at)
    watch = _Watch(progress, "predicting", len(planned))
    predictions: Predictions = in_child(
        lambda tell: predict(sources, planned, wish.layouts, wish.policy, tell),
        watch.reached,
        watch.again,
    ).value
    result = Result(planned, predictions.layouts)
    runner = _Runner(sources, wish, planned, predictions)
    for kind in wish.file_systems:
        for layout in wish.built:
            run = Run(kind, layout, refused=predictions.layouts[layout].refused)
            if not run.refused:
                runner.fill(run, _Watch(progress, f"{kind}, {layout}", len(planned)))
            result.runs.append(run)
            finished(run)
    return result


class _Watch:
    """How far a phase is."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress = progress
        self._phase = phase
        self._done = 0
        self._total = total

    def reached(self, done: int) -> None:
        self._done = done
        self.again()

    def again(self) -> None:
        self._progress(self._phase, self._done, self._total)


@dataclass(frozen=True)
class _Runner:
    """Measures one layout on one file system after the other."""

    sources: Sequence[Source]
    wish: Wish
    planned: Sequence[Step]
    predictions: Predictions

    def fill(self, run: Run, watch: _Watch) -> None:
        """Do all of it; nothing is left."""
        predicted = self.predictions.layouts[run.layout].inodes
        need = Need(max(predicted), self.predictions.content)
        with tempfile.TemporaryDirectory(prefix="b-") as work, made_for(
            run.file_system, need, self.wish.directory
        ) as disk, self._builder(run.layout, disk, Path(work), watch.again) as builder:
            fresh = used(disk)
            run.empty_predicted = builder.create()
            empty = used(disk)
            run.empty = empty - fresh
            readings, run.creation = self._build(builder, watch)
            run.points = [
                Point(step, reading.used - empty, figure, reading.seconds)
                for step, reading, figure in zip(self.planned, readings, predicted)
            ]
            removed, run.removal = self._remove(builder, watch)
            run.left = removed.used - empty
            run.left_predicted = staying(self.planned) if run.layout in OURS else 0

    def _builder(self, layout: str, disk: Path, work: Path, check: Check) -> Builder:
        if layout in OURS:
            return Ours(disk, OURS[layout], work, self.wish.policy)
        assert self.wish.dockerd is not None
        return Docker(disk, self.wish.dockerd, BY_DOCKER[layout], work, check)

    def _build(self, builder: Builder, watch: _Watch) -> Tuple[List[Reading], Effort]:
        readings: List[Reading] = []

        def told(reading: Reading) -> None:
            readings.append(reading)
            watch.reached(len(readings))

        def work(tell: Tell) -> None:
            for reading in builder.build(self.sources, self.planned):
                tell(reading)

        peak = builder.apart(work, told, watch.again).peak
        return readings, Effort(sum(reading.seconds for reading in readings), peak)

    def _remove(self, builder: Builder, watch: _Watch) -> Tuple[Reading, Effort]:
        done = builder.apart(lambda _: builder.remove(self.planned), lambda _: None, watch.again)
        return done.value, Effort(done.value.seconds, done.peak)
