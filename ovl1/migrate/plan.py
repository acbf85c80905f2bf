"""The plan: what will be made, what will be changed; frozen before anything happens.

`ovl1 migrate plan` prints the very object that `run` executes, and the journal keeps of it what
`resume` and `rollback` need. Making it reads the store and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ovl1.driver.convert import ORPHAN, Conversion
from ovl1.migrate.area import Area
from ovl1.migrate.options import Options
from ovl1.migrate.squash.cut import Deep
from ovl1.model import ChainId, ContainerId, LayerId
from ovl1.store.discovery import DRIVERS
from ovl1.store.layout import LINKS, Layout
from ovl1.store.trees import LEFTOVER
from ovl1.store.whole import Whole

SIDE_BY_SIDE, ELSEWHERE, IN_PLACE = "side by side", "elsewhere", "in place"

EMPTY_HOME = {LINKS, "backingFsBlockDev"}
"""What Docker makes in a new ``overlay2/``; the device node is for quotas."""

_NOT_COPIED = {*DRIVERS, "image", "tmp", "runtimes", "lost+found"}
"""Other stores are not taken along; what Docker makes anew at each start need not be."""


@dataclass(frozen=True)
class Plan:
    """A migration, decided."""

    data_root: Path
    layers: Tuple[LayerId, ...]
    """What is converted, parents first."""
    containers: Tuple[ContainerId, ...]
    """Those whose configuration names the overlay driver."""
    keep_directory_times: bool = True
    verify: bool = True
    """Whether the new layers are proved before they are put into place."""
    aside: Tuple[str, ...] = ()
    """Directories of an empty overlay2 store that is in the way, below the data-root."""
    orphans: Tuple[Tuple[LayerId, Optional[LayerId]], ...] = ()
    """Those of `layers` that nothing refers to, each with the parent that was found for it."""
    left: Tuple[str, ...] = ()
    """What is not converted, in words; for people only."""
    mode: str = SIDE_BY_SIDE
    source_root: Optional[Path] = None
    """Where the old store lies, if not in `data_root`."""
    rest: Tuple[str, ...] = ()
    """What else of `source_root` is copied, by name."""
    conversions: Tuple[Conversion, ...] = ()
    """In place: what each of `layers` becomes; it cannot be told again from what is half done."""
    squash: Tuple[Deep, ...] = ()
    """The images whose bottom layers become one."""
    quick: bool = False
    """Whether that proof leaves out the contents."""
    daemon_json: Optional[Path] = None
    """Docker's configuration, which is to name the new driver; None to leave it alone."""
    daemon_json_kept: Optional[Path] = None
    """Where the old one is kept."""

    @property
    def area(self) -> Area:
        """Where the migration keeps its things."""
        return Area(self.data_root, self.source_root)

    def record(self) -> Dict[str, Any]:
        """What the journal must keep to finish or undo it."""
        return {
            "mode": self.mode,
            "layers": list(self.layers),
            "containers": list(self.containers),
            "keep_directory_times": self.keep_directory_times,
            "verify": self.verify,
            "aside": list(self.aside),
            "orphans": [list(pair) for pair in self.orphans],
            "source_root": str(self.source_root) if self.source_root else None,
            "rest": list(self.rest),
            "conversions": [_recorded(conversion) for conversion in self.conversions],
            "squash": [asdict(deep) for deep in self.squash],
            "quick": self.quick,
            "daemon_json": str(self.daemon_json) if self.daemon_json else None,
            "daemon_json_kept": str(self.daemon_json_kept) if self.daemon_json_kept else None,
        }

    @classmethod
    def recorded(cls, data_root: Path, record: Mapping[str, Any]) -> Plan:
        """The plan that gave `record`; of an empty one, a plan for nothing.

        Raises:
            BrokenStore: an id in it is none.
        """
        return cls(
            data_root=data_root,
            mode=str(record.get("mode", SIDE_BY_SIDE)),
            layers=tuple(LayerId.parse(text) for text in record.get("layers", ())),
            containers=tuple(ContainerId.parse(text) for text in record.get("containers", ())),
            keep_directory_times=bool(record.get("keep_directory_times", True)),
            verify=bool(record.get("verify", True)),
            aside=tuple(record.get("aside", ())),
            orphans=tuple(_orphan(pair) for pair in record.get("orphans", ())),
            source_root=_path(record, "source_root"),
            rest=tuple(record.get("rest", ())),
            conversions=tuple(
                _conversion(Area(data_root), values) for values in record.get("conversions", ())
            ),
            squash=tuple(_deep(values) for values in record.get("squash", ())),
            quick=bool(record.get("quick", False)),
            daemon_json=_path(record, "daemon_json"),
            daemon_json_kept=_path(record, "daemon_json_kept"),
        )


def _orphan(pair: Sequence[Optional[str]]) -> Tuple[LayerId, Optional[LayerId]]:
    layer_id, parent = pair
    return LayerId.parse(layer_id or ""), LayerId.parse(parent) if parent else None


def _path(record: Mapping[str, Any], name: str) -> Optional[Path]:
    return Path(record[name]) if record.get(name) else None


def _deep(values: Mapping[str, Any]) -> Deep:
    return Deep(values["of"], tuple(values["names"]), values["layers"], values["merged"])


def _recorded(conversion: Conversion) -> List[Any]:
    told = (conversion.layer_id, conversion.kind, conversion.of, list(conversion.lowers))
    return [*told, conversion.tar_split is not None, conversion.has_children]


def _conversion(area: Area, values: Sequence[Any]) -> Conversion:
    layer_id, kind, of, lowers, has_tar_split, has_children = values
    return Conversion(
        LayerId.parse(layer_id),
        kind,
        of,
        tuple(map(LayerId.parse, lowers)),
        area.old.tar_split(ChainId.parse(of)) if has_tar_split else None,
        has_children,
    )


def make_plan(whole: Whole, conversions: Sequence[Conversion], options: Options) -> Plan:
    """Decide how to convert what is whole of a store, of which `conversions` are the layers."""
    store = whole.store
    layers = tuple(conversion.layer_id for conversion in conversions)
    plan = Plan(
        data_root=store.layout.data_root,
        layers=layers,
        containers=tuple(sorted(store.containers)),
        keep_directory_times=options.keep_directory_times,
        verify=options.verify,
        quick=options.quick,
        orphans=tuple((c.layer_id, c.parent) for c in conversions if c.kind == ORPHAN),
        left=tuple(_left(whole, set(layers), options)),
    )
    if options.to is None:
        plan = replace(plan, aside=_in_the_way(plan.area.target))
        if options.in_place:
            # As they are when the store has been moved aside.
            moved = tuple(_conversion(plan.area, _recorded(each)) for each in conversions)
            plan = replace(plan, mode=IN_PLACE, conversions=moved)
        return plan
    rest = sorted(name for name in os.listdir(plan.data_root) if name not in _NOT_COPIED)
    return replace(
        plan,
        mode=ELSEWHERE,
        data_root=options.to.resolve(),
        source_root=plan.data_root,
        rest=tuple(rest),
    )


def _left(whole: Whole, converted: Set[LayerId], options: Options) -> Iterator[str]:
    """What is not converted, in words."""
    store = whole.store
    yield from whole.left
    for name, tree in store.trees.items():
        if name in converted:
            continue
        why = f"nothing refers to it ({tree.reason or tree.kind})"
        if tree.name in store.parts.layers.claimed:
            why = "what it belongs to is left out"
        elif options.include_orphans and tree.lower is not None:
            why += f", and what it is over, {tree.lower.short}, is missing or left out"
        elif tree.kind != LEFTOVER and not tree.is_buildkit and not options.include_orphans:
            why += "; --include-orphans takes it along"
        yield f"{tree.name}: {why}"
    for key, container in store.foreign_containers.items():
        driver = container.driver or "aufs"
        yield f"container {container.name or key[:12]}: belongs to driver {driver}"


def _in_the_way(target: Layout) -> Tuple[str, ...]:
    """The directories of an overlay2 store without layers and images; none if it has some.

    Docker 24 and later make such a store beside an overlay one, which they do not see.
    """
    places = [path for path in (target.home, target.image) if os.path.lexists(path)]
    holding = (target.links, target.layers, target.mounts, target.image_configs)
    full = any(path.is_dir() and any(path.iterdir()) for path in holding)
    if full or any(not path.is_dir() or path.is_symlink() for path in places):
        return ()
    if target.home in places and {path.name for path in target.home.iterdir()} - EMPTY_HOME:
        return ()
    return tuple(str(path.relative_to(target.data_root)) for path in places)
