"""Which layers belong to which container: ``layerdb/mounts/<container id>/``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional

from ovl1.model import ChainId, ContainerId, LayerId
from ovl1.store import layout as names
from ovl1.store.folder import Folder, read_each
from ovl1.store.layout import Layout
from ovl1.store.problem import Problem


@dataclass(frozen=True)
class MountRecord:
    """A container's own layers, and the image layer they stand on."""

    container_id: ContainerId
    mount_id: LayerId
    """The layer that the container writes to."""
    init_id: Optional[LayerId]
    """The layer with Docker's own files between image and container."""
    parent: Optional[ChainId]
    """None for a container of an image without layers."""


@dataclass(frozen=True)
class MountTable:
    """All usable mount records of a store."""

    mounts: Dict[ContainerId, MountRecord] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)


def read_mounts(layout: Layout) -> MountTable:
    """Read every mount record of the store.

    Raises:
        NotPossibleHere: this user may not read them.
    """
    problems: List[Problem] = []
    found = read_each(layout.data_root, layout.mounts, ContainerId.parse, _read_record, problems)
    return MountTable(found, problems)


def _read_record(entry: Folder, container_id: ContainerId) -> MountRecord:
    where = str(entry.path)
    init_id = parent = None
    if entry.exists(names.INIT_ID):
        init_id = LayerId.parse(entry.text(names.INIT_ID), where)
    if entry.exists(names.PARENT):
        parent = ChainId.parse(entry.text(names.PARENT), where)
    mount_id = LayerId.parse(entry.text(names.MOUNT_ID), where)
    return MountRecord(container_id, mount_id, init_id, parent)
