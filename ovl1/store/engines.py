"""What each generation of the Docker engine would do with a data-root, as data with text.

The table follows ``daemon/graphdriver/driver.go`` of the engines' releases: which drivers are
registered and in which order they are tried, and what happens when the data-root shows that a
driver was used before (its directory is not empty; ``vfs`` does not count).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import FrozenSet, List, Tuple

from ovl1.store.discovery import DataRoot
from ovl1.store.layout import OVERLAY, OVERLAY2

USES, REFUSES, IGNORES = "uses it", "refuses to start", "ignores it"

_OLD = frozenset({"aufs", "btrfs", "zfs", "devicemapper", OVERLAY, "vfs"})
_MIDDLE = _OLD | {OVERLAY2}
_LATE = _MIDDLE | {"fuse-overlayfs"}


@dataclass(frozen=True)
class Engine:
    """A range of releases that choose their storage driver alike."""

    name: str
    registered: FrozenSet[str]
    deprecated: FrozenSet[str] = frozenset()
    """Drivers that are used only when configured by name."""
    warned: FrozenSet[str] = frozenset()
    """Drivers that are used with a deprecation warning."""
    reads_legacy: bool = False
    """Whether it understands (or converts) the form before 1.10."""
    reads_current: bool = True
    """Whether it understands the form since 1.10."""
    default: str = OVERLAY2
    """What it starts with when it sees nothing."""
    releases: Tuple[str, ...] = ()
    """Those of the range that people ask for by name."""
    may_snapshot: bool = False
    """Whether ``features.containerd-snapshotter`` makes it use another store than the driver's."""
    reads_graph: bool = True
    """Whether ``graph`` may name the data-root in daemon.json."""


ENGINES = (
    Engine("1.4 - 1.9", _OLD, reads_legacy=True, reads_current=False, default="aufs or another"),
    Engine("1.10 - 1.12", _OLD, reads_legacy=True, default="aufs or another"),
    Engine("1.13 - 17.11", _MIDDLE, reads_legacy=True),
    Engine("17.12 - 18.09", _MIDDLE, reads_legacy=True),
    Engine(
        "19.03 - 20.10",
        _LATE,
        warned=frozenset({OVERLAY, "devicemapper"}),
        releases=("19.03", "20.10"),
    ),
    Engine(
        "23.0",
        _LATE,
        deprecated=frozenset({OVERLAY, "devicemapper", "aufs"}),
        warned=frozenset({OVERLAY, "devicemapper"}),
        releases=("23.0",),
        reads_graph=False,
    ),
    Engine(
        "24",
        _LATE - {OVERLAY, "aufs"},
        deprecated=frozenset({"devicemapper"}),
        releases=("24",),
        may_snapshot=True,
        reads_graph=False,
    ),
    Engine(
        "25 - 28",
        _LATE - {OVERLAY, "aufs", "devicemapper"},
        releases=("25", "26", "27", "28"),
        may_snapshot=True,
        reads_graph=False,
    ),
    Engine(
        "29",
        _LATE - {OVERLAY, "aufs", "devicemapper"},
        default="the containerd image store",
        releases=("29",),
        may_snapshot=True,
        reads_graph=False,
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What one engine does, without a configured driver and with ``storage-driver: overlay``."""

    engine: str
    unset: str
    """`USES`, `REFUSES` or `IGNORES`: what becomes of the overlay store."""
    unset_text: str
    configured: str
    configured_text: str


def engine_verdicts(data_root: DataRoot) -> Tuple[Verdict, ...]:
    """What each engine generation would do with the overlay store of this data-root."""
    return tuple(_verdict(engine, data_root) for engine in ENGINES)


def _verdict(engine: Engine, data_root: DataRoot) -> Verdict:
    unset, unset_text = _without_driver(engine, data_root)
    configured, configured_text = _with_overlay(engine, data_root)
    return Verdict(
        engine.name, unset, _said(unset, unset_text), configured, _said(configured, configured_text)
    )


def _said(outcome: str, text: str) -> str:
    return f"{outcome}: {text}" if outcome == REFUSES else text


def _without_driver(engine: Engine, data_root: DataRoot) -> Tuple[str, str]:
    prior = [d for d in data_root.drivers if d in engine.registered and d != "vfs"]
    if not prior:
        return IGNORES, f"knows none of the stores here; starts empty with {engine.default}"
    old = [driver for driver in prior if driver in engine.deprecated]
    if old:
        return REFUSES, f"{_join(old)} is deprecated: it must be configured by name"
    if len(prior) > 1:
        return REFUSES, f"the data-root contains several valid graphdrivers: {_join(prior)}"
    if prior != [OVERLAY]:
        return IGNORES, f"uses the {prior[0]} store"
    return _used(engine, data_root)


def _with_overlay(engine: Engine, data_root: DataRoot) -> Tuple[str, str]:
    if engine.name == "29":
        return REFUSES, "takes it for a snapshotter's name: configured driver not available"
    if OVERLAY not in engine.registered:
        return REFUSES, "the overlay storage driver has been deprecated and removed"
    if OVERLAY not in data_root.drivers:
        return IGNORES, "starts empty with overlay"
    return _used(engine, data_root)


def _used(engine: Engine, data_root: DataRoot) -> Tuple[str, str]:
    store = data_root.store(OVERLAY)
    legacy = store is not None and store.is_legacy
    warning = ", with a deprecation warning" if OVERLAY in engine.warned else ""
    if legacy and not engine.reads_legacy:
        return IGNORES, f"uses overlay but shows no images: the form before 1.10{warning}"
    if legacy and engine.reads_current:
        return USES, "converts it from the form before 1.10 at its first start"
    if not legacy and not engine.reads_current:
        return IGNORES, "uses overlay but shows no images: the form since 1.10"
    return USES, f"uses the overlay store{warning}"


def _join(drivers: List[str]) -> str:
    return ", ".join(drivers)
