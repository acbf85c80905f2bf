"""What both drivers do alike: counting mounts, comparing views, removing, cleaning up.

A driver adds what its layout decides: how a layer is made and filled, which directories it
consists of, and how they are mounted. See `ovl1.driver.base` for what each operation promises.
"""

from __future__ import annotations

import abc
import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Optional, Tuple

from ovl1.driver import aside
from ovl1.driver.aside import checked
from ovl1.driver.mounting import Uses, detach_below, mount_point, unmount_below, unmount_from
from ovl1.driver.status import backing_file_system, has_d_type
from ovl1.driver.views import check_unmoved, open_stack
from ovl1.errors import BrokenStore, Refused
from ovl1.layer import changes as layer_changes
from ovl1.layer import diff as layer_diff
from ovl1.layer.apply import Applied
from ovl1.layer.policy import Policy
from ovl1.linux import mounts
from ovl1.model import Change, IdMaps, LayerId, Mount
from ovl1.store.layout import MERGED, Layout
from ovl1.tree.view import StackView

RUNTIME = Path("/run/ovl1")


class OverlayDriver(abc.ABC):
    """A driver; the two layouts fill in the rest.

    Args:
        policy: what applying a layer allows; its id maps are replaced by `id_maps`.
        id_maps: of the user namespace that containers run in.
        runtime: where locks and counts are kept; the same for all processes of a machine.
        sync: make layers durable before they are there; without it, a power cut may lose some.
        owner_names: let tars of layers have the host's names of owners; see
            `ovl1.layer.pack.Packer`.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        policy: Optional[Policy] = None,
        id_maps: Optional[IdMaps] = None,
        runtime: Path = RUNTIME,
        sync: bool = True,
        owner_names: bool = False,
    ) -> None:
        self._layout = layout
        self._id_maps = id_maps or IdMaps()
        self._policy = replace(policy or Policy(), id_maps=self._id_maps)
        self._uses = Uses(runtime, layout.home)
        self._sync = sync
        self._owner_names = owner_names

    # What a layout decides.

    @abc.abstractmethod
    def _furnish(self, place: Path, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        """Make in the empty directory `place` all that a new layer has."""

    @abc.abstractmethod
    def _fill(self, layer_id: LayerId, parent: Optional[LayerId], tar: BinaryIO) -> Applied:
        """Apply the tar to a new layer, which is neither mounted nor in other hands."""

    @abc.abstractmethod
    def _stack(self, layer_id: LayerId) -> List[Path]:
        """The directories that make up the layer's view, topmost first."""

    @abc.abstractmethod
    def _mount_of(self, layer_id: LayerId, label: str, *, relative: bool) -> Mount:
        """How to mount a layer of more than one directory.

        Args:
            relative: name everything from the driver's home, which is shorter.
        """

    @abc.abstractmethod
    def _described(self, layer_id: LayerId) -> Dict[str, str]:
        """`metadata` of a layer that is there."""

    @abc.abstractmethod
    def _forget(self, leftover: Path, layer_id: LayerId) -> None:
        """Remove what lies outside of a layer's directory, which has been set aside."""

    # The contract.

    @property
    def layout(self) -> Layout:
        """Where its layers lie."""
        return self._layout

    def status(self) -> List[Tuple[str, str]]:
        """See `ovl1.driver.base.Driver`."""
        home = self._layout.home
        return [
            ("Backing Filesystem", backing_file_system(home)),
            ("Supports d_type", "true" if has_d_type(home) else "false"),
        ]

    def metadata(self, layer_id: LayerId) -> Dict[str, str]:
        """See `ovl1.driver.base.Driver`."""
        return self._described(self._existing(layer_id))

    def exists(self, layer_id: LayerId) -> bool:
        """See `ovl1.driver.base.Driver`."""
        return os.path.lexists(self._layout.layer(checked(layer_id)))

    def create(self, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        """See `ovl1.driver.base.Driver`."""
        layer_id = checked(layer_id)
        place = self._layout.layer(layer_id)
        with self._uses.locked(layer_id):
            if self.exists(layer_id):
                raise Refused(f"there is a layer {layer_id.short} already", details=str(place))
            if parent is not None:
                parent = self._existing(parent)
            self._finish(layer_id)
            with self._placed(place) as staging:
                self._furnish(staging, layer_id, parent)

    def create_read_write(self, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        """See `ovl1.driver.base.Driver`."""
        self.create(layer_id, parent)

    def remove(self, layer_id: LayerId) -> None:
        """See `ovl1.driver.base.Driver`."""
        self._remove(checked(layer_id), delete=True)

    def discard(self, layer_id: LayerId) -> None:
        """Take a layer away as `remove` does, and leave its deletion to `sweep`."""
        self._remove(checked(layer_id), delete=False)

    def get(self, layer_id: LayerId, mount_label: str = "") -> Path:
        """See `ovl1.driver.base.Driver`."""
        layer_id = self._existing(layer_id)
        with self._uses.locked(layer_id) as use:
            stack = self._stack(layer_id)
            open_stack(layer_id, stack).close()
            if len(stack) == 1:
                return stack[0]
            merged = self._layout.merged(layer_id)
            count = use.count
            if count:
                use.record(count + 1)
                return merged
            with mount_point(merged, self._id_maps.root_pair):
                self._mount(layer_id, mount_label)
                use.record(1)
            return merged

    def put(self, layer_id: LayerId) -> None:
        """See `ovl1.driver.base.Driver`."""
        layer_id = checked(layer_id)
        with self._uses.locked(layer_id) as use:
            left = max(use.count - 1, 0)
            if use.count == 1:
                unmount_from(self._layout.merged(layer_id))
            use.record(left)

    def cleanup(self) -> None:
        """See `ovl1.driver.base.Driver`."""
        for layer_id in self._unsettled():
            with self._uses.locked(layer_id) as use:
                detach_below(self._layout.layer(layer_id))
                unmount_from(self._layout.merged(layer_id))
                use.record(0)
                self._finish(layer_id)

    def sweep(self) -> None:
        """Delete what `discard` has left, and calls that were interrupted; idempotent."""
        for layer_id in filter(None, map(aside.leftover_of, os.listdir(self._layout.home))):
            with self._uses.locked(layer_id):
                self._finish(layer_id)

    def forget_counts(self) -> None:
        """Let each layer that is mounted count one: whoever asked for more is gone."""
        for name in self._uses.known():
            with contextlib.suppress(BrokenStore), self._uses.locked(checked(name)) as use:
                use.record(0)

    def apply_diff(self, layer_id: LayerId, parent: Optional[LayerId], tar: BinaryIO) -> Applied:
        """See `ovl1.driver.base.Driver`."""
        layer_id = self._existing(layer_id)
        if parent is not None:
            parent = self._existing(parent)
        with self._uses.locked(layer_id) as use:
            if use.count:
                raise Refused(
                    f"layer {layer_id.short} is mounted, so it cannot be filled",
                    resolution="Unmount it first.",
                )
            self._finish(layer_id)
            return self._fill(layer_id, parent, tar)

    def diff(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> Iterator[bytes]:
        """See `ovl1.driver.base.Driver`."""
        chunks = self._diff(checked(layer_id), parent, docker=docker)
        # It opens the layers, so that what is wrong with them is raised here.
        next(chunks)
        return chunks

    def changes(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> List[Change]:
        """See `ovl1.driver.base.Driver`."""
        with self._compared(layer_id, parent) as (new, old):
            return list(layer_changes.changes(new, old, docker=docker))

    def diff_size(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> int:
        """See `ovl1.driver.base.Driver`."""
        with self._compared(layer_id, parent) as (new, old):
            return layer_changes.changes_size(new, old, docker=docker)

    # What they share.

    def _remove(self, layer_id: LayerId, *, delete: bool) -> None:
        place = self._layout.layer(layer_id)
        with self._uses.locked(layer_id) as use:
            self._finish(layer_id)
            if os.path.lexists(place):
                unmount_below(place)
                aside.set_aside(place, sync=self._sync)
            use.record(0)
            if delete:
                self._finish(layer_id)

    def _diff(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool
    ) -> Iterator[bytes]:
        """An empty chunk as soon as the layers are open, then the tar."""
        with self._compared(layer_id, parent) as (new, old):
            yield b""
            yield from layer_diff.diff(
                new, old, docker=docker, id_maps=self._id_maps, owner_names=self._owner_names
            )

    @contextlib.contextmanager
    def _compared(
        self, layer_id: LayerId, parent: Optional[LayerId]
    ) -> Iterator[Tuple[StackView, Optional[StackView]]]:
        with self._reading(layer_id) as new:
            if parent is None:
                yield new, None
                return
            with self._reading(parent) as old:
                yield new, old

    @contextlib.contextmanager
    def _reading(self, layer_id: LayerId) -> Iterator[StackView]:
        """The layer's view, opened under its lock and then read without."""
        layer_id = self._existing(layer_id)
        with self._uses.locked(layer_id):
            paths = self._stack(layer_id)
            view = open_stack(layer_id, paths)
        with view:
            yield view
            check_unmoved(layer_id, paths, view)

    def _existing(self, layer_id: LayerId) -> LayerId:
        layer_id = checked(layer_id)
        if not self.exists(layer_id):
            raise BrokenStore(
                f"there is no layer {layer_id.short}", details=str(self._layout.layer(layer_id))
            )
        return layer_id

    @contextlib.contextmanager
    def _placed(self, place: Path) -> Iterator[Path]:
        group = self._id_maps.root_pair[1]
        with aside.placed(place, group=group, sync=self._sync) as staging:
            yield staging

    def _mount(self, layer_id: LayerId, label: str) -> None:
        layout = self._layout
        what = self._mount_of(layer_id, label, relative=False)
        if mounts.fits(what):
            mounts.mount(what, layout.merged(layer_id))
        else:
            what = self._mount_of(layer_id, label, relative=True)
            mounts.mount(what, Path(layer_id, MERGED), within=layout.home)
        # The containers' root moves directories up through it; the kernel has made it.
        work, pair = layout.work(layer_id) / "work", self._id_maps.root_pair
        if pair != (0, 0) and work.exists():
            os.chown(work, *pair)

    def _finish(self, layer_id: LayerId) -> None:
        """Finish what was interrupted: remove what the layer has left under other names."""
        for suffix in (aside.REMOVING, aside.CREATING):
            leftover = self._layout.home / f"{layer_id}{suffix}"
            if os.path.lexists(leftover):
                unmount_below(leftover)
                self._forget(leftover, layer_id)
                aside.remove(leftover)

    def _unsettled(self) -> List[LayerId]:
        """The layers that are mounted or in use, and those that something was interrupted with."""
        home = self._layout.home
        found = {aside.leftover_of(name) for name in os.listdir(home)}
        mounted = {path.relative_to(home).parts[0] for path in mounts.mounted_below(home)}
        for name in mounted.union(self._uses.known()):
            with contextlib.suppress(BrokenStore):
                found.add(checked(name))
        return sorted(layer_id for layer_id in found if layer_id is not None)
