"""One layer there and back: what an engine calls for each, by its record."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Dict, Tuple

from ovl1.linux import durable
from ovl1.migrate.inplace import record as records
from ovl1.migrate.inplace.furnish import furnish, unfurnish
from ovl1.migrate.inplace.items import Enter, Gone, Leave, Separate
from ovl1.migrate.inplace.prune import prune
from ovl1.migrate.inplace.record import Record
from ovl1.migrate.inplace.restore import restore
from ovl1.model import LayerId
from ovl1.store.layout import Layout
from ovl1.tree.view import Parts


def convert(layout: Layout, record: Record, root_pair: Tuple[int, int] = (0, 0)) -> None:
    """Make an overlay2 layer of one that has been decided; durable and idempotent.

    Its children must have been converted before; ``l/`` must be there.

    Args:
        layout: of the home in which the layers' directories are now.
        root_pair: user and group id that root of a container has on the host.

    Raises:
        HalfDone: something else has changed the layer.
        OSError: what a system call refused; to be done again, or undone.
    """
    prune(layout.layer(record.header.layer_id), record, record.path.parent)
    # After pruning, which frees the inodes for it.
    furnish(layout, record.header, record.path.parent, root_pair)
    durable.sync_file_system(layout.home)


def undo(layout: Layout, area: Path, layer_id: LayerId) -> None:
    """Give a layer back its tree, from whatever state; durable and idempotent.

    The parent must have been undone before. The record is removed at last; without one nothing has
    been done to the layer, or all has been undone. It stays if files came back as other inodes:
    the digests of layers that are still converted count on the old ones.

    Promise: the layer's directory has what it had, with all metadata, and files have their inodes.
    Other than before are the inode numbers of directories and of what was a copy of the parent's,
    and the link count of a whiteout that the kernel shared with its ``work`` directory.

    Raises:
        BrokenStore: the record is damaged, or the parent is not there.
        HalfDone: something else has changed the layer.
    """
    path = area / layer_id
    if not path.exists():
        return
    record = records.read(path)
    unfurnish(layout, record.header)
    restore(layout, record)
    os.utime(layout.layer(layer_id), ns=record.header.times_ns)
    durable.sync_file_system(layout.home)
    if not replaced_inodes(record):
        path.unlink()
        durable.sync_directory(area)


def tidy(layout: Layout, record: Record) -> None:
    """Remove what only the old layout needs from a converted layer; then it cannot be undone."""
    with contextlib.suppress(FileNotFoundError):
        layout.lower_id(record.header.layer_id).unlink()


def replaced_inodes(record: Record) -> Dict[Parts, int]:
    """Files that went because the parent's are the same, with the inodes that they had.

    Held in memory: there are none but in layers that began as a copy, such as containers'.
    """
    found: Dict[Parts, int] = {}
    way = []
    for item in record.items():
        if isinstance(item, (Enter, Gone)):
            way.append(item.name)
        elif isinstance(item, Leave):
            way.pop()
        elif isinstance(item, Separate) and item.inode:
            found[(*way[1:], item.name)] = item.inode
    return found
