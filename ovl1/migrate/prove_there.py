"""The proof of a conversion in place: every layer still shows what it showed before.

What a layer shows is noted before anything is changed, as a digest in which a file's inode number
stands for its content, and compared when all is done; and for every image layer the original tar
is put together again and hashed to its DiffID. A layer that shows the same, and whose tar cannot
be put together, was so before: that is told, and does not count against the new store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Dict, Sequence

from ovl1.driver.convert import IMAGE, Conversion, open_view
from ovl1.errors import BrokenStore, CheckFailed, HalfDone, listed
from ovl1.linux import durable
from ovl1.linux.workers import in_parallel
from ovl1.migrate import certificate
from ovl1.migrate.area import Area
from ovl1.migrate.inplace import record as records
from ovl1.migrate.inplace.convert import replaced_inodes
from ovl1.migrate.inplace.digest import Known, view_digest
from ovl1.migrate.plan import Plan
from ovl1.migrate.source import Source
from ovl1.migrate.steps import Result
from ovl1.migrate.verify import Verification, tar_problems
from ovl1.model import ChainId, DiffId, LayerId, Progress
from ovl1.store.layout import Layout
from ovl1.store.store import Store

_DIGESTS = "digests.json"


def digests_of(area: Area) -> Dict[str, str]:
    """What each layer showed, by layer id.

    Raises:
        HalfDone: the file is missing or damaged.
    """
    path = area.layers / _DIGESTS
    try:
        return {str(key): str(value) for key, value in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError) as err:
        raise HalfDone(
            f"{path} cannot be read: {err}", resolution="Run `ovl1 migrate rollback`."
        ) from err


@dataclass(frozen=True)
class TakeDigests:
    """What every layer shows before any is changed."""

    source: Source
    plan: Plan
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        return "note what each layer shows"

    def do(self) -> Result:
        """See `Step`."""
        store, layers = self.source.store, self.plan.conversions
        known: Known = {}

        def take(layer: Conversion) -> str:
            with open_view(store, layer.layer_id) as view:
                return view_digest(
                    view, known=known, directory_times=self.plan.keep_directory_times
                )

        found = {}
        for number, (layer, digest) in enumerate(zip(layers, in_parallel(take, layers))):
            self.progress("noting what layers show", number, len(layers))
            found[layer.layer_id] = digest
        self.progress("noting what layers show", len(layers), len(layers))
        data = json.dumps(found, sort_keys=True).encode()
        durable.write_file(self.plan.area.layers / _DIGESTS, data, mode=0o600)
        return None

    def undo(self) -> None:
        """See `Step`; goes with the layers' records."""


@dataclass(frozen=True)
class ProveThere:
    """See the module; leaves a certificate."""

    plan: Plan
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        short = ", but for the tars" if self.plan.quick else ""
        return f"prove that the layers show what they did{short}"

    def do(self) -> Result:
        """See `Step`.

        Raises:
            CheckFailed: they do not.
        """
        area = self.plan.area
        found = verify_there(area.staged, self.plan, self.progress, quick=self.plan.quick)
        if not found.passed:
            raise CheckFailed(
                "the converted layers do not show what they did before",
                details=listed(found.differences),
                resolution="This is a fault of ovl1: please report it with these lines.",
            )
        layers = self.plan.conversions
        return {"proof": certificate.write(area.certificate, area.data_root, layers, found)}

    def undo(self) -> None:
        """See `Step`."""
        self.plan.area.certificate.unlink(missing_ok=True)


def verify_there(
    layout: Layout, plan: Plan, progress: Progress, *, quick: bool = False
) -> Verification:
    """Compare every layer of the store at `layout` with what it showed before it was converted.

    Args:
        quick: put no tars together.
    """
    store, area = Store.of(layout), plan.area
    before = digests_of(area)
    diff_ids = {record.cache_id: record.diff_id for record in store.layers.values()}
    known: Known = {}
    replaced = {
        layer.layer_id: replaced_inodes(records.read(area.layers / layer.layer_id))
        for layer in plan.conversions
    }

    def check(layer: Conversion) -> Verification:
        result = Verification(views=1)
        ids: Sequence[LayerId] = (layer.layer_id, *layer.lowers)
        try:
            with open_view(store, layer.layer_id) as view:
                shown = view_digest(
                    view,
                    [replaced[each] for each in ids],
                    known=known,
                    directory_times=plan.keep_directory_times,
                )
        except BrokenStore as err:
            result.differences.append(f"{layer.kind} {layer.of}: {err.brief}")
            return result
        if shown != before[layer.layer_id]:
            result.differences.append(f"{layer.kind} {layer.of} shows something else than before")
        elif layer.kind == IMAGE and not quick:
            _hash(store, layer, diff_ids[layer.layer_id], result)
        return result

    result = Verification(quick=quick)
    for number, checked in enumerate(in_parallel(check, plan.conversions)):
        progress("verifying", number, len(plan.conversions))
        result += checked
    progress("verifying", len(plan.conversions), len(plan.conversions))
    return result


def _hash(store: Store, layer: Conversion, expected: DiffId, result: Verification) -> None:
    if layer.tar_split is None:
        result.notes.append(f"layer {layer.of}: no tar-split, so its DiffID cannot be proved")
        return
    placed = replace(layer, tar_split=store.layout.tar_split(ChainId.parse(layer.of)))
    problems = tar_problems(store, placed, expected)
    if not problems:
        result.proved[layer.of] = expected
    result.notes += [f"layer {layer.of}: {p.brief} (so it was before)" for p in problems]
