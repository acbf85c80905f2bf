"""The overlay2 layout: ``overlay2/<id>/{diff,link,lower,work,committed}``, short names in ``l/``.

Modes, contents and the order of ``lower`` (nearest first) are those of Docker 20.10
(daemon/graphdriver/overlay2). The short name of a new layer is derived from its id instead of
drawn by chance, so that the same store always gives the same layout; Docker's own are read.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Optional, Sequence, Tuple

from ovl1.driver import aside
from ovl1.driver.aside import make_directory
from ovl1.driver.common import OverlayDriver
from ovl1.driver.views import open_stack
from ovl1.errors import BrokenStore, Refused
from ovl1.layer.apply import Applied, apply_to_diff
from ovl1.layer.diff import native_diff
from ovl1.linux import durable, mounts
from ovl1.linux.durable import create_file
from ovl1.model import LayerId, Mount
from ovl1.store import layout as names
from ovl1.store.folder import Folder
from ovl1.store.layout import Layout
from ovl1.tree.size import tree_size

MAX_LOWERS = 128
"""Docker's limit (``maxDepth``), chosen so that the mount options fit into a page."""

_LOWER = re.compile(rf"{names.LINKS}/([A-Z2-7]{{26}})")
_TARGET = re.compile(rf"\.\./([^/]+)/{names.DIFF}")


def short_name(layer_id: LayerId) -> str:
    """The 26 characters of base 32 that stand for a layer of ours in ``l/``."""
    return base64.b32encode(hashlib.sha256(layer_id.encode()).digest()).decode()[:26]


def create_home(layout: Layout, *, mode: int, owner: Tuple[int, int]) -> None:
    """Make the empty home of the driver with its ``l/``; it must not exist."""
    layout.home.mkdir(parents=True)
    layout.links.mkdir(0o700)
    for path, bits in ((layout.links, 0o700), (layout.home, mode)):
        os.chown(path, *owner)
        path.chmod(bits)


def create_layer(
    layout: Layout,
    layer_id: LayerId,
    lowers: Sequence[LayerId],
    *,
    mode: int,
    owner: Tuple[int, int],
    root_pair: Tuple[int, int],
    has_children: bool,
) -> None:
    """Make a layer's directory with everything but the content of ``diff``.

    Not durable until the file system is synced.

    Args:
        lowers: all layers below, nearest first; they have the short names that we derive.
        mode, owner: of the layer's own directory.
        root_pair: user and group id that root of a container has on the host.
        has_children: write ``committed``, which makes mounts of this layer itself read-only.
    """
    home = layout.layer(layer_id)
    home.mkdir(mode)
    _furnish(home, layer_id, [f"{names.LINKS}/{short_name(lower)}" for lower in lowers], root_pair)
    if has_children:
        create_file(layout.committed(layer_id), b"", mode=0o600)
    os.chown(home, *owner)
    home.chmod(mode)


def _furnish(
    place: Path, layer_id: LayerId, lowers: Sequence[str], root_pair: Tuple[int, int]
) -> None:
    """Make in `place` what a layer has, and its link in ``l/``."""
    make_directory(place / names.DIFF, 0o755, root_pair)
    short = short_name(layer_id)
    create_file(place / names.LINK, short.encode(), mode=0o644)
    os.symlink(f"../{layer_id}/{names.DIFF}", place.parent / names.LINKS / short)
    if lowers:
        create_file(place / names.LOWER, ":".join(lowers).encode(), mode=0o644)
        make_directory(place / names.WORK, 0o700, root_pair)


def driver_inodes(*, has_lowers: bool, has_children: bool) -> int:
    """Inodes that `create_layer` takes: directory, diff, link, link in ``l/``, and what it adds."""
    return 4 + (2 if has_lowers else 0) + (1 if has_children else 0)


def lowers_of(layout: Layout, layer_id: LayerId) -> List[str]:
    """The items of the layer's ``lower``: ``l/<short name>``, nearest first; none for a base.

    Raises:
        BrokenStore: one is something else.
    """
    with Folder.open(layout.data_root, layout.layer(layer_id)) as folder:
        if not folder.exists(names.LOWER):
            return []
        items = folder.text(names.LOWER).split(":")
    for item in items:
        if not _LOWER.fullmatch(item):
            raise BrokenStore(
                f"the lower of layer {layer_id.short} names {item[:80]!r}, which is not below l/"
            )
    return items


def layer_at(layout: Layout, item: str) -> LayerId:
    """The layer that ``l/<short name>`` leads to.

    Raises:
        BrokenStore: it leads nowhere, or not to a layer.
    """
    try:
        target = os.readlink(layout.home / item)
    except OSError as err:
        raise BrokenStore(f"{item} is no link: {err.strerror}") from err
    match = _TARGET.fullmatch(target)
    if match is None:
        raise BrokenStore(f"{item} points elsewhere: {target[:120]!r}")
    return LayerId.parse(match.group(1), item)


def mount_of(
    layout: Layout, layer_id: LayerId, *, label: str = "", relative: bool = False
) -> Mount:
    """How to mount a layer that has lowers, through the short names; read-only if it has children.

    Args:
        relative: name everything from the driver's home, which is shorter.

    Raises:
        BrokenStore: as `lowers_of`.
    """
    start = Path() if relative else layout.home
    lowers = [start / item for item in lowers_of(layout, layer_id)]
    diff, work = (start / layer_id / name for name in (names.DIFF, names.WORK))
    if layout.committed(layer_id).exists():
        return mounts.overlay([diff, *lowers], label=label)
    return mounts.overlay(lowers, diff, work, label=label)


class Overlay2Driver(OverlayDriver):
    """Docker's ``overlay2`` driver; satisfies `ovl1.driver.base.Driver`."""

    def _furnish(self, place: Path, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        lowers: List[str] = []
        if parent is not None:
            lowers = [f"{names.LINKS}/{self._link(parent)}", *lowers_of(self._layout, parent)]
            if len(lowers) > MAX_LOWERS:
                raise Refused(
                    "max depth exceeded",
                    details=f"layer {parent.short} has {len(lowers) - 1} layers below it; "
                    f"no layer can have more than {MAX_LOWERS}",
                )
        self._unlink(short_name(layer_id), layer_id)
        try:
            _furnish(place, layer_id, lowers, self._id_maps.root_pair)
            if parent is not None:
                self._commit(parent)
            if self._sync:
                durable.sync_directory(self._layout.links)
        except BaseException:
            self._unlink(short_name(layer_id), layer_id)
            raise

    def _fill(self, layer_id: LayerId, parent: Optional[LayerId], tar: BinaryIO) -> Applied:
        diff = self._layout.diff(layer_id)
        if os.listdir(diff) or self._layout.committed(layer_id).exists():
            raise Refused(
                f"layer {layer_id.short} has been filled already",
                details="The layers over it would change as well.",
            )
        if self._parent(layer_id) != parent:
            raise BrokenStore(f"layer {layer_id.short} was not made over that parent")
        lowers = self._stack(layer_id)[1:]
        with contextlib.ExitStack() as stack:
            below = stack.enter_context(open_stack(layer_id, lowers)) if lowers else None
            owner = self._id_maps.root_pair
            with aside.replaced(diff, owner=owner, sync=self._sync) as target:
                applied = apply_to_diff(tar, below, target, policy=self._policy)
                # Docker records for this layout what is on the disk, not what headers claim.
                return replace(applied, size=tree_size(target))

    def _diff(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool
    ) -> Iterator[bytes]:
        """Docker's overlay2 writes its own directory as it is, when that is what is asked for."""
        if self._parent(self._existing(layer_id)) != parent:
            yield from super()._diff(layer_id, parent, docker=docker)
            return
        with self._reading(layer_id) as view:
            yield b""
            yield from native_diff(
                view.layers[0],
                docker=docker,
                id_maps=self._id_maps,
                owner_names=self._owner_names,
            )

    def _stack(self, layer_id: LayerId) -> List[Path]:
        lowers = [layer_at(self._layout, item) for item in lowers_of(self._layout, layer_id)]
        return [self._layout.diff(each) for each in (layer_id, *lowers)]

    def _mount_of(self, layer_id: LayerId, label: str, *, relative: bool) -> Mount:
        return mount_of(self._layout, layer_id, label=label, relative=relative)

    def _described(self, layer_id: LayerId) -> Dict[str, str]:
        layout = self._layout
        found = {
            "WorkDir": os.fspath(layout.work(layer_id)),
            "MergedDir": os.fspath(layout.merged(layer_id)),
            "UpperDir": os.fspath(layout.diff(layer_id)),
        }
        lowers = self._stack(layer_id)[1:]
        if lowers:
            found["LowerDir"] = ":".join(map(os.fspath, lowers))
        return found

    def _forget(self, leftover: Path, layer_id: LayerId) -> None:
        with contextlib.suppress(BrokenStore):
            self._unlink(_read_link(self._layout, leftover), layer_id)

    def cleanup(self) -> None:
        """See `ovl1.driver.base.Driver`."""
        super().cleanup()
        for short in os.listdir(self._layout.links):
            with contextlib.suppress(BrokenStore):
                layer_id = layer_at(self._layout, f"{names.LINKS}/{short}")
                with self._uses.locked(layer_id):
                    self._unlink(short, layer_id)

    def _link(self, layer_id: LayerId) -> str:
        return _read_link(self._layout, self._layout.layer(layer_id))

    def _parent(self, layer_id: LayerId) -> Optional[LayerId]:
        lowers = lowers_of(self._layout, layer_id)
        return layer_at(self._layout, lowers[0]) if lowers else None

    def _commit(self, parent: LayerId) -> None:
        """Mark a layer that has children, so that its own mounts are read-only."""
        with contextlib.suppress(FileExistsError):
            create_file(self._layout.committed(parent), b"", mode=0o600)
            if self._sync:
                durable.sync_directory(self._layout.layer(parent))

    def _unlink(self, short: str, layer_id: LayerId) -> None:
        """Remove a link in ``l/`` to a layer that is not there."""
        path = self._layout.links / short
        if self.exists(layer_id) or not os.path.islink(path):
            return
        if os.readlink(path) == f"../{layer_id}/{names.DIFF}":
            path.unlink()


def _read_link(layout: Layout, place: Path) -> str:
    with Folder.open(layout.data_root, place) as folder:
        return folder.text(names.LINK)
