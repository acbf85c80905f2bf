"""The v1 layout: ``overlay/<id>/root``, or ``lower-id``, ``upper`` and ``work`` for containers.

An image layer is a complete tree; a container is a single overlay mount over one of them, which is
all that Linux 3.18 can do. Limits: so far it makes containers' layers and tells how to mount them.
"""

from __future__ import annotations

from ovl1.linux import mounts
from ovl1.linux.durable import create_file
from ovl1.model import LayerId, Mount
from ovl1.store.layout import Layout


def create_read_write(layout: Layout, layer_id: LayerId, lower: LayerId) -> None:
    """Make an empty container layer over the image layer `lower` (modes as of Docker 20.10.9).

    Raises:
        FileExistsError: there is such a layer; nothing was changed.
    """
    root = layout.root(lower).lstat()
    layout.layer(layer_id).mkdir(0o710)
    layout.upper(layer_id).mkdir()
    layout.upper(layer_id).chmod(root.st_mode & 0o7777)
    layout.work(layer_id).mkdir(0o700)
    create_file(layout.lower_id(layer_id), lower.encode(), mode=0o600)


def mount_of(layout: Layout, layer_id: LayerId) -> Mount:
    """How to mount a container layer: two directories, one of them the image's complete tree.

    Raises:
        BrokenStore: its ``lower-id`` is no id.
    """
    path = layout.lower_id(layer_id)
    lower = LayerId.parse(path.read_text("utf-8", "backslashreplace"), str(path))
    return mounts.overlay([layout.root(lower)], layout.upper(layer_id), layout.work(layer_id))
