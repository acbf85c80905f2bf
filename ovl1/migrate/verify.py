"""The proof that a new store shows what the old one showed.

For every layer and container the two merged views are compared, name by name; and for every image
layer the original tar is put together again from the new store and hashed to its DiffID. A layer
whose tar could not be re-assembled before either (AUFS leftovers in old images) is told, and does
not count against the new store. A quick proof compares structure and metadata only: what the new
store has copied instead of linked is not read, and nothing is hashed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence

from ovl1.driver.convert import IMAGE, Conversion, open_view
from ovl1.errors import BrokenStore, LayerError
from ovl1.formats import tarsplit
from ovl1.layer.export import Problem, ViewContents, check
from ovl1.linux.workers import in_parallel
from ovl1.model import DiffId, Progress, no_progress
from ovl1.store.store import Store
from ovl1.tree.compare import Difference, view_differences
from ovl1.tree.view import Cursor

_MAX_SHOWN = 20


@dataclass
class Verification:
    """What was checked, and what was found."""

    views: int = 0
    """Layers and containers whose views were compared."""
    proved: Dict[str, DiffId] = field(default_factory=dict)
    """The DiffIDs, by chain id, to which the tars of image layers hash."""
    quick: bool = False
    """Whether contents were left out."""
    differences: List[str] = field(default_factory=list)
    """What speaks against the new store."""
    notes: List[str] = field(default_factory=list)
    """What was not provable, but no better before."""

    def __add__(self, other: Verification) -> Verification:
        return Verification(
            self.views + other.views,
            {**self.proved, **other.proved},
            self.quick or other.quick,
            self.differences + other.differences,
            self.notes + other.notes,
        )

    @property
    def diff_ids(self) -> int:
        """How many image layers' tars hash to their DiffIDs."""
        return len(self.proved)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the new store."""
        return not self.differences


def verify_stores(
    old: Store,
    new: Store,
    layers: Sequence[Conversion],
    *,
    keep_directory_times: bool = True,
    quick: bool = False,
    progress: Progress = no_progress,
) -> Verification:
    """Compare every layer of `layers` in both stores; reads all contents of image layers once.

    Args:
        keep_directory_times: whether the times of directories count.
        quick: read no contents.

    Raises:
        BrokenStore: a layer is missing in the old store.
    """
    records = {record.cache_id: record.diff_id for record in old.layers.values()}

    def check_layer(layer: Conversion) -> Verification:
        return _verified(
            old,
            new,
            layer,
            records.get(layer.layer_id),
            keep_directory_times=keep_directory_times,
            quick=quick,
        )

    result = Verification(
        quick=quick,
        differences=[
            f"{problem.where}: {problem.what}"
            for problem in new.parts.trees.problems
            if problem.is_error
        ],
    )
    for number, checked in enumerate(in_parallel(check_layer, layers)):
        progress("verifying", number, len(layers))
        result += checked
    progress("verifying", len(layers), len(layers))
    return result


def _verified(
    old: Store,
    new: Store,
    layer: Conversion,
    diff_id: Optional[DiffId],
    *,
    keep_directory_times: bool,
    quick: bool,
) -> Verification:
    result = Verification()
    try:
        open_view(new, layer.layer_id).close()
    except BrokenStore as err:
        result.differences.append(f"{layer.kind} {layer.of}: {err.brief}")
        return result
    result.differences += _view_differences(
        old, new, layer, keep_directory_times=keep_directory_times, content=not quick
    )
    result.views += 1
    if layer.kind != IMAGE or quick:
        return result
    if layer.tar_split is None:
        result.notes.append(f"layer {layer.of}: no tar-split, so its DiffID cannot be proved")
    else:
        assert diff_id is not None
        _compare_tars(old, new, layer, diff_id, result)
    return result


def _view_differences(
    old: Store, new: Store, layer: Conversion, *, keep_directory_times: bool, content: bool
) -> List[str]:
    with open_view(old, layer.layer_id) as before, open_view(new, layer.layer_id) as after:
        found = (
            difference
            for difference in view_differences(before, after, content=content)
            if keep_directory_times or difference.what != "modification time"
        )
        return [_told(layer, difference) for difference in itertools.islice(found, _MAX_SHOWN)]


def _compare_tars(
    old: Store, new: Store, layer: Conversion, expected: DiffId, result: Verification
) -> None:
    problems = tar_problems(new, layer, expected)
    if not problems:
        result.proved[layer.of] = expected
    elif problems == tar_problems(old, layer, expected):
        result.notes += [
            f"layer {layer.of}: {problem.brief} (already so in the old store)"
            for problem in problems
        ]
    else:
        result.differences += [f"layer {layer.of}: {problem.brief}" for problem in problems]


def tar_problems(store: Store, layer: Conversion, expected: DiffId) -> List[Problem]:
    """What keeps the layer's tar from being put together again with its digest."""
    assert layer.tar_split is not None
    view = open_view(store, layer.layer_id)
    with view, Cursor(view) as cursor, open(layer.tar_split, "rb") as file:
        try:
            return check(tarsplit.read(file), ViewContents(cursor), expected)
        except LayerError as err:
            return [Problem(b"", err.brief)]


def _told(layer: Conversion, difference: Difference) -> str:
    path = b"/" + b"/".join(difference.path)
    return f"{layer.kind} {layer.of}: {path.decode('utf-8', 'backslashreplace')}: {difference.what}"
