"""Whether an engine will use an overlay2 store, and what its daemon.json must say for that.

Pure: from what is in the data-root and in daemon.json. The rules are those of the releases' own
sources below moby daemon/: graphdriver/driver.go (``New``), graphdriver/overlay2/overlay.go
(``parseOptions``), and in Docker 29 daemon.go (``determineImageStoreChoice``), where the containerd
image store is the default only of data-roots in which no driver was used before. Not seen: options
on the daemon's command line, and ``DOCKER_DRIVER``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ovl1.errors import WrongUsage
from ovl1.store.engines import ENGINES, Engine
from ovl1.store.layout import OVERLAY2

DRIVER_KEY, ROOT_KEY, OLD_ROOT_KEY = "storage-driver", "data-root", "graph"

RELEASES = tuple(release for engine in ENGINES for release in engine.releases)
"""The engines that can be asked about."""

_OPTIONS = ("overlay2.override_kernel_check", "overlay2.size")


@dataclass(frozen=True)
class Acceptance:
    """What one engine does with a data-root that holds an overlay2 store."""

    engine: str
    change: Dict[str, str] = field(default_factory=dict)
    """What daemon.json must say and does not."""
    problems: Tuple[str, ...] = ()
    """Why the engine would not use the store even so; each with what to do."""
    remarks: Tuple[str, ...] = ()

    @property
    def accepts(self) -> bool:
        """Whether it uses the store once daemon.json is changed."""
        return not self.problems


def acceptance(
    release: str, drivers: Sequence[str], config: Mapping[str, Any], data_root: str = ""
) -> Acceptance:
    """Judge one engine.

    Args:
        release: one of `RELEASES`.
        drivers: those whose directories in the data-root hold something, overlay2 among them.
        config: daemon.json, parsed; empty if there is none.
        data_root: what daemon.json must name as such; empty if that stays.

    Raises:
        WrongUsage: nothing is known of that release.
    """
    engine = _engine(release)
    change = {}
    others = sorted(set(drivers) & engine.registered - {OVERLAY2, "vfs"})
    driver = config.get(DRIVER_KEY)
    if driver not in (None, "", OVERLAY2) or (others and not driver):
        change[DRIVER_KEY] = OVERLAY2
    key = root_key(config)
    if data_root and config.get(key) != data_root:
        change[key] = data_root
    remarks = []
    if others:
        remarks.append(f"stores of other drivers stay unused: {', '.join(others)}")
    if engine.may_snapshot and engine.default != OVERLAY2 and not driver and not others:
        remarks.append(f"an empty data-root would get {engine.default}; this one keeps overlay2")
    return Acceptance(release, change, tuple(_problems(engine, config)), tuple(remarks))


def root_key(config: Mapping[str, Any]) -> str:
    """Under which name daemon.json tells the data-root: Docker before 17.05 knew only ``graph``."""
    return OLD_ROOT_KEY if OLD_ROOT_KEY in config else ROOT_KEY


def _engine(release: str) -> Engine:
    for engine in ENGINES:
        if release in engine.releases:
            return engine
    raise WrongUsage(f"no engine {release!r} is known", resolution=f"Known: {', '.join(RELEASES)}.")


def _problems(engine: Engine, config: Mapping[str, Any]) -> List[str]:
    problems = []
    features = config.get("features")
    if isinstance(features, dict) and engine.may_snapshot:
        if features.get("containerd-snapshotter") is True:
            problems.append(
                "features.containerd-snapshotter is true: it would use the containerd image store, "
                "which is empty. Remove it, or set it to false."
            )
        if features.get("containerd-migration") is True and "29" in engine.releases:
            problems.append(
                "features.containerd-migration is true: it would leave overlay2 at its start. "
                "Remove it, or set it to false."
            )
    options = config.get("storage-opts")
    problems += [
        f"storage-opts has {option!r}, which overlay2 refuses. Remove it."
        for option in (options if isinstance(options, list) else ())
        if str(option).partition("=")[0].strip().lower() not in _OPTIONS
    ]
    if OLD_ROOT_KEY in config and not engine.reads_graph:
        problems.append("it no longer knows `graph`. Rename it to `data-root`.")
    return problems
