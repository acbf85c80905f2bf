"""The overlay2 layout: ``overlay2/<id>/{diff,link,lower,work,committed}``, short names in ``l/``.

Modes, contents and the order of ``lower`` (nearest first) are those of Docker 20.10
(daemon/graphdriver/overlay2). The short name is derived from the layer's id instead of drawn by
chance, so that the same store always gives the same layout.
Limits: so far it makes layer directories and tells how to mount them.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Sequence, Tuple

from ovl1.linux import mounts
from ovl1.linux.durable import create_file
from ovl1.model import LayerId, Mount
from ovl1.store import layout as names
from ovl1.store.layout import Layout

MAX_LOWERS = 128
"""Docker's limit (``maxDepth``), chosen so that the mount options fit into a page."""


def short_name(layer_id: LayerId) -> str:
    """The 26 characters of base 32 that stand for the layer in ``l/``."""
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
        lowers: all layers below, nearest first.
        mode, owner: of the layer's own directory.
        root_pair: user and group id that root of a container has on the host.
        has_children: write ``committed``, which makes mounts of this layer itself read-only.
    """
    home = layout.layer(layer_id)
    home.mkdir(mode)
    layout.diff(layer_id).mkdir(0o755)
    short = short_name(layer_id)
    create_file(layout.link(layer_id), short.encode(), mode=0o644)
    os.symlink(f"../{layer_id}/{names.DIFF}", layout.links / short)
    if lowers:
        text = ":".join(f"{names.LINKS}/{short_name(lower)}" for lower in lowers)
        create_file(layout.lower(layer_id), text.encode(), mode=0o644)
        layout.work(layer_id).mkdir(0o700)
        os.chown(layout.work(layer_id), *root_pair)
    if has_children:
        create_file(layout.committed(layer_id), b"", mode=0o600)
    os.chown(home, *owner)
    home.chmod(mode)


def driver_inodes(*, has_lowers: bool, has_children: bool) -> int:
    """Inodes that `create_layer` takes: directory, diff, link, link in ``l/``, and what it adds."""
    return 4 + (2 if has_lowers else 0) + (1 if has_children else 0)


def mount_of(layout: Layout, layer_id: LayerId) -> Mount:
    """How to mount a layer that has lowers, read-write, through the short names."""
    lower = layout.lower(layer_id).read_text("ascii", "backslashreplace").split(":")
    return mounts.overlay(
        [layout.home / short for short in lower], layout.diff(layer_id), layout.work(layer_id)
    )
