"""Who can build images on a file system, so that what that takes can be measured."""

from __future__ import annotations

import abc
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence

from ovl1.bench.child import Check, Outcome, Tell
from ovl1.bench.disk import Used
from ovl1.bench.steps import Source, Step
from ovl1.closing import Closing


class Reading(NamedTuple):
    """What a file system has after something was done."""

    used: Used
    seconds: float
    """That it took, until it was on the disk."""


class Builder(Closing):
    """A store, on a file system where nothing else is; a context manager."""

    @abc.abstractmethod
    def create(self) -> Optional[int]:
        """Make the empty store.

        Returns:
            how many inodes it must take, if anybody can know.
        """

    @abc.abstractmethod
    def apart(self, work: Callable[[Tell], Any], told: Tell, check: Check) -> Outcome:
        """Run `work` as `ovl1.bench.child.in_child` does; the peak is that of who does the work."""

    @abc.abstractmethod
    def build(self, sources: Sequence[Source], planned: Sequence[Step]) -> Iterator[Reading]:
        """Take all steps; for use in `apart`.

        Yields:
            what there is after each.
        """

    @abc.abstractmethod
    def remove(self, planned: Sequence[Step]) -> Reading:
        """Remove the images that are left after all steps; for use in `apart`."""
