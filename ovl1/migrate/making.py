"""The steps that make a new store where Docker does not see it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import List

from ovl1.driver import overlay2
from ovl1.layer.build import Built, build, make_whiteout
from ovl1.layer.delta import delta
from ovl1.linux import durable
from ovl1.linux.beneath import Directory
from ovl1.linux.workers import in_parallel
from ovl1.migrate import make, preflight
from ovl1.migrate.area import Area
from ovl1.migrate.deleting import delete_layers
from ovl1.migrate.plan import Plan
from ovl1.migrate.source import Source
from ovl1.migrate.squash.steps import enter
from ovl1.migrate.steps import Result, Step
from ovl1.model import Progress
from ovl1.store.naming import write_names
from ovl1.tree.remove import remove_path
from ovl1.tree.view import StackView

_AT_ONCE = 64
"""Layers of a step: what an interruption costs at most, against a sync of the file system each."""


def layer_steps(source: Source, plan: Plan, progress: Progress) -> List[Step]:
    """The steps that make all layers of `plan`."""
    batches = range(0, len(plan.layers), _AT_ONCE)
    return [MakeLayers(source, first, plan, progress) for first in batches]


@dataclass(frozen=True)
class MakeHome:
    """The empty home of the new store, out of Docker's sight, and the inode of its whiteouts."""

    area: Area
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"make {self.area.staged.home}"

    def do(self) -> Result:
        """See `Step`."""
        staged = self.area.staged
        remove_path(staged.data_root)
        staged.data_root.mkdir(0o700)
        preflight.check_abilities(staged.data_root)
        status = self.area.origin.home.stat()
        owner = status.st_uid, status.st_gid
        overlay2.create_home(staged, mode=status.st_mode & 0o7777, owner=owner)
        remove_path(self.area.whiteout)
        with Directory.open(self.area.home) as home:
            make_whiteout(home, os.fsencode(self.area.whiteout.name))
        durable.sync_file_system(staged.data_root)
        return None

    def undo(self) -> None:
        """See `Step`; takes all layers with it."""
        delete_layers(self.area.staged, "deleting the new layers", self.progress)
        remove_path(self.area.staged.data_root)


@dataclass(frozen=True)
class MakeLayers:
    """Some of the new layers."""

    source: Source
    first: int
    plan: Plan
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        last = min(self.first + _AT_ONCE, len(self.plan.layers))
        return f"make layers {self.first + 1} to {last} in {self.plan.area.staged.home}"

    def do(self) -> Result:
        """See `Step`."""
        staged = self.plan.area.staged
        layers = self.source.conversions[self.first : self.first + _AT_ONCE]
        for conversion in layers:
            remove_path(staged.layer(conversion.layer_id))
            remove_path(staged.links / overlay2.short_name(conversion.layer_id))
        built = Built()
        maker = make.Maker(
            self.source.store,
            staged,
            keep_directory_times=self.plan.keep_directory_times,
            copies=self.plan.source_root is not None,
            whiteout=self.plan.area.whiteout,
        )
        # A layer is made from the old store alone, so the order does not matter.
        for number, made in enumerate(in_parallel(maker.make, layers), self.first + 1):
            built += made
            self.progress("making layers", number, len(self.plan.layers))
        durable.sync_file_system(staged.home)
        return {"built": asdict(built)}

    def undo(self) -> None:
        """See `Step`; the layers go with their home."""


@dataclass(frozen=True)
class CopyMetadata:
    """The records of layers and images; hardlinks would not do, Docker writes some in place.

    Those of broken parts are not taken along: see `ovl1.store.whole`.
    """

    source: Source

    @property
    def area(self) -> Area:
        """Where it is copied."""
        return self.source.area

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"copy {self.area.origin.image} to {self.area.staged.image}"

    def do(self) -> Result:
        """See `Step`."""
        target = self.area.staged.image
        remove_path(target.parent)
        target.mkdir(parents=True)
        view = StackView([Directory.open(self.area.origin.image)])
        with view, Directory.open(target) as here:
            build(delta(view, None, None), here, own_copy=True)
        whole = self.source.whole
        for name in whole.metadata:
            remove_path(target / name)
        if whole.names_changed:
            names = whole.store.references
            write_names(self.area.staged.repositories, {**names.tags, **names.digests})
        squashed = enter(self.source, self.area.staged)
        durable.sync_file_system(target)
        return {"squashed": squashed} if squashed else None

    def undo(self) -> None:
        """See `Step`; goes with the home of the new store."""
