"""Images built by ovl1 itself, in either of its layouts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

from ovl1.bench.builder import Builder, Reading
from ovl1.bench.child import Check, Outcome, Tell, in_child
from ovl1.bench.disk import used
from ovl1.bench.steps import Source, Step, last_names
from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.images.load import load
from ovl1.images.remove import plan_removal, remove
from ovl1.inodes.forecast import store_inodes
from ovl1.layer.policy import Policy
from ovl1.linux import durable
from ovl1.store.layout import Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store


class Ours(Builder):
    """A store on a file system; a context manager.

    Args:
        disk: the file system's mount point.
        driver: the layout.
        work: a directory for what does not outlive the machine's run.
    """

    def __init__(self, disk: Path, driver: str, work: Path, policy: Policy) -> None:
        self.layout = Layout(disk.resolve() / "docker", driver)
        self._disk = disk
        self._work = work
        self._policy = policy

    def close(self) -> None:
        """Nothing to close; idempotent."""

    def create(self) -> Optional[int]:
        """See `Builder.create`."""
        inodes = store_inodes(self.layout)
        create_store(self.layout)
        return inodes

    def apart(self, work: Callable[[Tell], Any], told: Tell, check: Check) -> Outcome:
        """See `Builder.apart`."""
        return in_child(work, told, check)

    def build(self, sources: Sequence[Source], planned: Sequence[Step]) -> Iterator[Reading]:
        """See `Builder.build`."""
        driver = self._open()
        for step in planned:
            began = time.monotonic()
            load(driver, sources[step.source].blobs, [step.image])
            durable.sync_file_system(self._disk)
            seconds = time.monotonic() - began
            if step.replaces:
                remove(driver, plan_removal(Store.of(self.layout), [step.replaces]))
            yield Reading(used(self._disk), seconds)

    def remove(self, planned: Sequence[Step]) -> Reading:
        """See `Builder.remove`."""
        driver = self._open()
        began = time.monotonic()
        remove(driver, plan_removal(Store.of(self.layout), last_names(planned)))
        durable.sync_file_system(self._disk)
        seconds = time.monotonic() - began
        return Reading(used(self._disk), seconds)

    def _open(self) -> Driver:
        # Whatever is made is synced before the store names it.
        return open_driver(
            self.layout.data_root,
            self.layout.driver,
            policy=self._policy,
            runtime=self._work,
            sync=False,
        )
