"""The v1 layout: ``overlay/<id>/root``, or ``lower-id``, ``upper`` and ``work`` for containers.

An image layer is a complete tree; a container is a single overlay mount over one of them, which is
all that Linux 3.18 can do. Names, modes and owners are those of Docker 20.10.9.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Dict, List, Optional

from ovl1.driver import aside
from ovl1.driver.aside import make_directory
from ovl1.driver.common import OverlayDriver
from ovl1.driver.upper import copy_upper
from ovl1.driver.views import open_stack
from ovl1.errors import BrokenStore, Refused
from ovl1.layer.apply import Applied, apply_to_diff, apply_to_root
from ovl1.linux import durable, mounts
from ovl1.linux.beneath import Directory
from ovl1.linux.durable import create_file
from ovl1.model import LayerId, Mount
from ovl1.store.folder import Folder
from ovl1.store.layout import LOWER_ID, MERGED, ROOT, UPPER, WORK, Layout


def lower_of(layout: Layout, layer_id: LayerId) -> LayerId:
    """The image layer that a container layer lies over.

    Raises:
        BrokenStore: its ``lower-id`` is missing, or no id.
    """
    with Folder.open(layout.data_root, layout.layer(layer_id)) as folder:
        return LayerId.parse(folder.text(LOWER_ID), str(layout.lower_id(layer_id)))


def mount_of(
    layout: Layout, layer_id: LayerId, *, label: str = "", relative: bool = False
) -> Mount:
    """How to mount a container layer: two directories, one of them the image's complete tree.

    Args:
        relative: name everything from the driver's home, which is shorter.

    Raises:
        BrokenStore: as `lower_of`.
    """
    start = Path() if relative else layout.home
    lower = start / lower_of(layout, layer_id) / ROOT
    upper, work = (start / layer_id / name for name in (UPPER, WORK))
    return mounts.overlay([lower], upper, work, label=label)


class Overlay1Driver(OverlayDriver):
    """Docker's ``overlay`` driver; satisfies `ovl1.driver.base.Driver`."""

    def _furnish(self, place: Path, _layer_id: LayerId, parent: Optional[LayerId]) -> None:
        pair = self._id_maps.root_pair
        if parent is None:
            make_directory(place / ROOT, 0o755, pair)
            return
        if self._is_complete(parent):
            lower, below = parent, self._layout.root(parent)
        else:
            lower, below = lower_of(self._layout, parent), self._layout.upper(parent)
        make_directory(place / UPPER, below.lstat().st_mode, pair)
        make_directory(place / WORK, 0o700, pair)
        create_file(place / LOWER_ID, lower.encode(), mode=0o600)
        if lower != parent:
            with Directory.open(below) as source, Directory.open(place / UPPER) as target:
                copy_upper(source, target)
            if self._sync:
                durable.sync_file_system(place)

    def _fill(self, layer_id: LayerId, parent: Optional[LayerId], tar: BinaryIO) -> Applied:
        root = self._layout.root(layer_id)
        if self._is_complete(layer_id) and (parent is not None or os.listdir(root)):
            raise Refused(
                f"layer {layer_id.short} has been filled already",
                details="Its files may be shared with other layers, which would change as well.",
            )
        if parent is not None and not self._is_complete(parent):
            self._check_lower(layer_id, lower_of(self._layout, parent))
            return self._fill_upper(layer_id, parent, tar)
        if parent is not None:
            self._check_lower(layer_id, parent)
        elif not self._is_complete(layer_id):
            raise Refused(f"layer {layer_id.short} has a parent")
        with contextlib.ExitStack() as stack:
            below = None
            if parent is not None:
                (below,) = stack.enter_context(open_stack(parent, self._stack(parent))).layers
            owner = self._id_maps.root_pair
            with aside.replaced(root, owner=owner, sync=self._sync) as target:
                applied = apply_to_root(tar, below, target, policy=self._policy)
        # From now on it is an image layer, whatever else is there.
        for name in (UPPER, WORK, MERGED, LOWER_ID):
            aside.remove(root.with_name(name))
        return applied

    def _fill_upper(self, layer_id: LayerId, parent: LayerId, tar: BinaryIO) -> Applied:
        """Fill a layer over a container, which has a copy of that one's upper directory.

        It is made anew and takes the place of the empty one. Between the two renames it is absent.
        """
        place = self._layout.layer(layer_id)
        with self._placed(place) as staging:
            self._furnish(staging, layer_id, parent)
            below = open_stack(layer_id, self._stack(layer_id)[1:])
            with below, Directory.open(staging / UPPER) as target:
                applied = apply_to_diff(tar, below, target, policy=self._policy, mounted=True)
            if self._sync:
                durable.sync_file_system(staging)
            aside.set_aside(place, sync=self._sync)
        self._finish(layer_id)
        return applied

    def _check_lower(self, layer_id: LayerId, expected: LayerId) -> None:
        lower = lower_of(self._layout, layer_id)
        if lower != expected:
            raise BrokenStore(
                f"layer {layer_id.short} was made over {lower.short}, not over {expected.short}"
            )

    def _stack(self, layer_id: LayerId) -> List[Path]:
        if self._is_complete(layer_id):
            return [self._layout.root(layer_id)]
        lower = lower_of(self._layout, layer_id)
        return [self._layout.upper(layer_id), self._layout.root(lower)]

    def _mount_of(self, layer_id: LayerId, label: str, *, relative: bool) -> Mount:
        return mount_of(self._layout, layer_id, label=label, relative=relative)

    def _described(self, layer_id: LayerId) -> Dict[str, str]:
        layout = self._layout
        if self._is_complete(layer_id):
            return {"RootDir": os.fspath(layout.root(layer_id))}
        return {
            "LowerDir": os.fspath(layout.root(lower_of(layout, layer_id))),
            "UpperDir": os.fspath(layout.upper(layer_id)),
            "WorkDir": os.fspath(layout.work(layer_id)),
            "MergedDir": os.fspath(layout.merged(layer_id)),
        }

    def _forget(self, leftover: Path, layer_id: LayerId) -> None:
        """A layer is all in its own directory."""

    def _is_complete(self, layer_id: LayerId) -> bool:
        return self._layout.root(layer_id).is_dir()
