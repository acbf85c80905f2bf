"""To another data-root: everything is copied, converted on the way; the old one is only read.

Nothing stands in the new data-root under the names that Docker looks for until all of it is there
and proved; the driver's home comes last. What belongs to no driver (volumes, networks, containers'
own files) is copied by ``cp --archive``, which keeps links, holes, owners and attributes.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import List

from ovl1.errors import NotPossibleHere
from ovl1.linux import durable
from ovl1.migrate.across import LinkAcross
from ovl1.migrate.area import Area
from ovl1.migrate.daemon import daemon_steps
from ovl1.migrate.making import CopyMetadata, MakeHome, layer_steps
from ovl1.migrate.plan import Plan
from ovl1.migrate.prove import Prove
from ovl1.migrate.source import Source
from ovl1.migrate.squash.steps import MakeBases, NameImages
from ovl1.migrate.steps import Move, Result, Step
from ovl1.model import ContainerId, Progress
from ovl1.store.containers import replace_driver
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.tree.remove import remove_path


def steps(plan: Plan, progress: Progress) -> List[Step]:
    """What `plan` does, in order."""
    area, source = plan.area, Source(plan)
    staged = area.staged.data_root
    return [
        MakeHome(area, progress),
        *([MakeBases(source, progress)] if plan.squash else []),
        *layer_steps(source, plan, progress),
        LinkAcross(source),
        CopyMetadata(source),
        *(CopyRest(plan, name, progress) for name in plan.rest),
        *(NameDriver(area, container) for container in plan.containers),
        *([NameImages(source, plan, area.staged)] if plan.squash else []),
        *([Prove(source, plan, progress)] if plan.verify else []),
        *(Move(staged / name, area.data_root / name) for name in plan.rest),
        Move(area.staged.image.parent, area.target.image.parent),
        *daemon_steps(plan),
        Move(area.staged.home, area.target.home),
    ]


@dataclass(frozen=True)
class CopyRest:
    """A file or a directory of the data-root that is no driver's; `name` may be any."""

    plan: Plan
    name: str
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"copy {self.plan.area.source.data_root / self.name}"

    def do(self) -> Result:
        """See `Step`.

        Raises:
            NotPossibleHere: ``cp`` failed; with what it said.
        """
        area, number = self.plan.area, self.plan.rest.index(self.name)
        self.progress("copying the rest", number, len(self.plan.rest))
        target = area.staged.data_root / self.name
        remove_path(target)
        source = area.source.data_root / self.name
        command = ["cp", "--archive", "--reflink=auto", "--no-target-directory", "--"]
        try:
            done = subprocess.run(
                [*command, os.fspath(source), os.fspath(target)],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
        except FileNotFoundError as err:
            raise NotPossibleHere("there is no `cp` here (GNU coreutils)") from err
        if done.returncode != 0:
            raise NotPossibleHere(
                f"cannot copy {source}",
                details=done.stderr.decode(errors="replace")[-2000:],
                resolution="Mend that, then run the command again: the migration was taken back.",
            )
        durable.sync_file_system(target)
        self.progress("copying the rest", number + 1, len(self.plan.rest))
        return None

    def undo(self) -> None:
        """See `Step`; goes with the home of the new store."""


@dataclass(frozen=True)
class NameDriver:
    """A container's configuration, in the copy: it names the new driver."""

    area: Area
    container: ContainerId

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"name {OVERLAY2} in the copy of {self.area.source.container_config(self.container)}"

    def do(self) -> Result:
        """See `Step`."""
        source = self.area.source.container_config(self.container)
        status = source.stat()
        durable.write_file(
            self.area.staged.container_config(self.container),
            replace_driver(source.read_bytes(), OVERLAY, OVERLAY2),
            mode=status.st_mode & 0o7777,
            owner=(status.st_uid, status.st_gid),
            times_ns=(status.st_atime_ns, status.st_mtime_ns),
        )
        return None

    def undo(self) -> None:
        """See `Step`; goes with the home of the new store."""
