"""Image layers as Docker's layer store records them: ``layerdb/sha256/<chain id>/``.

Reading is as tolerant as the daemon's: a broken record is left out, with all that stands on it,
and reported. What a broken record names is remembered, so that nobody takes its tree for garbage.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set, Tuple

from ovl1.errors import BrokenStore
from ovl1.linux.beneath import DIR, Name
from ovl1.model import ChainId, DiffId, LayerId
from ovl1.store import layout as names
from ovl1.store.folder import Folder
from ovl1.store.layout import Layout
from ovl1.store.lookup import pick
from ovl1.store.problem import Problem

_RELOAD = "Remove the images that use this layer and load or pull them again."
_HALF_REMOVED = "the removal of a layer was interrupted"
_FINISHED = "Docker 20.10 and later finish it at their next start."


@dataclass(frozen=True)
class LayerRecord:
    """One image layer: where its tree is and what its tar hashes to."""

    chain_id: ChainId
    diff_id: DiffId
    parent: Optional[ChainId]
    cache_id: LayerId
    size: int
    """Bytes, as the daemon counted them when it wrote the layer; of this layer alone."""
    tar_split: Optional[Path]
    """None when missing or empty: the layer's tar cannot be written again exactly."""


@dataclass(frozen=True)
class LayerTable:
    """All usable layers of a store, and every tree that a record, usable or not, names."""

    layers: Dict[ChainId, LayerRecord] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)
    claimed: Set[LayerId] = field(default_factory=set)

    def chain(self, chain_id: ChainId) -> List[LayerRecord]:
        """The layer and all below it, top first.

        Raises:
            BrokenStore: there is no (usable) record of it.
        """
        found: List[LayerRecord] = []
        at: Optional[ChainId] = chain_id
        while at is not None:
            record = self.layers.get(at)
            if record is None:
                raise BrokenStore(f"layer {at} is missing", resolution=_RELOAD)
            found.append(record)
            at = record.parent
        return found

    def depth(self, chain_id: ChainId) -> int:
        """How many layers `chain` gives."""
        return len(self.chain(chain_id))

    def children(self) -> Dict[Optional[ChainId], List[LayerRecord]]:
        """The layers that stand directly on each layer; under None those that stand on nothing."""
        found: Dict[Optional[ChainId], List[LayerRecord]] = {}
        for record in self.layers.values():
            found.setdefault(record.parent, []).append(record)
        return found

    def by_cache_id(self) -> Dict[LayerId, LayerRecord]:
        """The layer that owns each tree."""
        return {record.cache_id: record for record in self.layers.values()}

    def find(self, text: str) -> LayerRecord:
        """The layer that `text` names: a chain id, diff id or cache id, or the beginning of one.

        Raises:
            WrongUsage: there is none, or more than one.
        """
        return pick(text, self._named(), "layer")

    def _named(self) -> Iterator[Tuple[str, LayerRecord]]:
        for record in self.layers.values():
            yield record.chain_id, record
            if record.parent is not None:
                yield f"{record.diff_id} (diff id of layer {record.chain_id.short})", record
            yield record.cache_id, record


def read_layers(layout: Layout) -> LayerTable:
    """Read every layer record of the store.

    Raises:
        NotPossibleHere: this user may not read them.
    """
    table = LayerTable()
    try:
        with Folder.open(layout.data_root, layout.layers) as folder:
            for name in folder.names():
                _read_entry(folder, name, table)
    except BrokenStore as error:
        table.problems.append(Problem.of(layout.layers, error))
    _drop_unsupported(layout, table)
    _report_shared_trees(layout, table)
    _report_staging(layout, table)
    return table


def _read_entry(folder: Folder, name: Name, table: LayerTable) -> None:
    text = name.name.decode("utf-8", "surrogateescape")
    where = folder.path / text
    try:
        if text.endswith(names.REMOVING) and name.kind == DIR:
            table.problems.append(Problem.note(where, _HALF_REMOVED, _FINISHED))
            with folder.child(text) as entry:
                _claim(entry, table)
            return
        chain_id = ChainId.parse(f"sha256:{text}")
        with folder.child(text) as entry:
            _claim(entry, table)
            table.layers[chain_id] = _read_record(entry, chain_id, table)
    except BrokenStore as error:
        table.problems.append(Problem.of(where, error))


def _claim(entry: Folder, table: LayerTable) -> None:
    # What cannot be read names nothing; the record itself is reported when it is read.
    with contextlib.suppress(BrokenStore):
        table.claimed.add(LayerId.parse(entry.text(names.CACHE_ID)))


def _read_record(entry: Folder, chain_id: ChainId, table: LayerTable) -> LayerRecord:
    where = str(entry.path)
    diff_id = DiffId.parse(entry.text(names.DIFF_ID), where)
    parent = None
    if entry.exists(names.PARENT):
        parent = ChainId.parse(entry.text(names.PARENT), where)
    if ChainId.of(parent, diff_id) != chain_id:
        raise BrokenStore(
            f"layer {chain_id.short} is not the chain id of its parent and its diff id",
            details=where,
            resolution=_RELOAD,
        )
    size = entry.text(names.SIZE)
    if not (size.isascii() and size.isdigit()) or len(size) > 19:
        raise BrokenStore(f"{size[:40]!r} is not a size", details=where, resolution=_RELOAD)
    return LayerRecord(
        chain_id=chain_id,
        diff_id=diff_id,
        parent=parent,
        cache_id=LayerId.parse(entry.text(names.CACHE_ID), where),
        size=int(size),
        tar_split=_tar_split(entry, table),
    )


def _tar_split(entry: Folder, table: LayerTable) -> Optional[Path]:
    path = entry.path / names.TAR_SPLIT
    try:
        with entry.directory.reading(names.TAR_SPLIT.encode()) as fd:
            if os.read(fd, 1):
                return path
    except FileNotFoundError:
        # Docker uses such a layer, all but for writing its tar.
        what = f"{path.name} is missing: the layer's tar cannot be written again exactly"
        table.problems.append(Problem.note(path, what, _RELOAD))
        return None
    except OSError:
        what = "is no readable file"
    else:
        what = "is empty, as a crash leaves files"
    what = f"{path.name} {what}: the layer's tar cannot be written again exactly"
    table.problems.append(Problem(path, what, _RELOAD))
    return None


def _drop_unsupported(layout: Layout, table: LayerTable) -> None:
    """Drop what stands, directly or not, on a record that is not there.

    The chain id is a hash over the parent's, so records that passed its check form no cycle.
    """
    missing = [r for r in table.layers.values() if r.parent is not None]
    dropped = True
    while dropped:
        dropped = False
        for record in missing:
            if record.chain_id in table.layers and record.parent not in table.layers:
                del table.layers[record.chain_id]
                dropped = True
                table.problems.append(
                    Problem(
                        layout.record(record.chain_id),
                        f"the layer below it, {record.parent}, is missing or broken",
                        _RELOAD,
                    )
                )


def _report_shared_trees(layout: Layout, table: LayerTable) -> None:
    owner: Dict[LayerId, LayerRecord] = {}
    for record in table.layers.values():
        first = owner.setdefault(record.cache_id, record)
        if first is not record:
            table.problems.append(
                Problem(
                    layout.record(record.chain_id),
                    f"its cache-id {record.cache_id.short} is also that of layer "
                    f"{first.chain_id.short}",
                    _RELOAD,
                )
            )


def _report_staging(layout: Layout, table: LayerTable) -> None:
    try:
        staging = Folder.find(layout.data_root, layout.staging)
    except BrokenStore as error:
        table.problems.append(Problem.of(layout.staging, error))
        return
    if staging is None:
        return
    with staging:
        for name in staging.names():
            text = name.name.decode("utf-8", "surrogateescape")
            table.problems.append(
                Problem.note(
                    staging.path / text,
                    "a layer record that was being written when the daemon stopped",
                    "It is not used; it may be removed while no daemon runs.",
                )
            )
            if name.kind == DIR:
                with staging.child(text) as entry:
                    _claim(entry, table)
