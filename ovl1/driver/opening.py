"""The driver of a data-root; its home is made, once it is proven that it can work there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Optional, Type

from ovl1.driver.common import RUNTIME, OverlayDriver
from ovl1.driver.overlay1 import Overlay1Driver
from ovl1.driver.overlay2 import Overlay2Driver
from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.layer.policy import Policy
from ovl1.linux import durable
from ovl1.linux.probe import probe
from ovl1.model import IdMaps
from ovl1.store.folder import explained
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout

DRIVERS: Dict[str, Type[OverlayDriver]] = {OVERLAY: Overlay1Driver, OVERLAY2: Overlay2Driver}

_NEEDED = {
    "d_type": "its directories tell the types of their entries",
    "hardlinks": "it has hard links",
    "trusted_xattr": "it has trusted extended attributes",
    "mknod": "device files can be made on it",
}
_OVERLAY = {
    OVERLAY: ("overlay", "overlayfs can have its upper directory there"),
    OVERLAY2: ("overlay_multiple_lowers", "overlayfs can have several lower directories there"),
}


def open_driver(
    data_root: Path,
    driver_name: str,
    *,
    home: Optional[str] = None,
    policy: Optional[Policy] = None,
    id_maps: Optional[IdMaps] = None,
    runtime: Path = RUNTIME,
    sync: bool = True,
    owner_names: bool = False,
) -> OverlayDriver:
    """The driver of the layers in a data-root; its home is made if it is missing, else left alone.

    Args:
        data_root: exists.
        driver_name: the layout of the layers, ``overlay`` or ``overlay2``.
        home: name of the home in the data-root; by default the driver's.
        policy, id_maps, runtime, sync, owner_names: see `ovl1.driver.common.OverlayDriver`.

    Raises:
        WrongUsage: there is no such driver.
        NotPossibleHere: the kernel or the file system lacks what the driver needs; nothing was
            made.
    """
    if driver_name not in DRIVERS:
        raise WrongUsage(f"there is no driver {driver_name!r}, only {', '.join(DRIVERS)}")
    layout = Layout(data_root.resolve(), home or driver_name)
    driver = DRIVERS[driver_name](
        layout,
        policy=policy,
        id_maps=id_maps,
        runtime=runtime,
        sync=sync,
        owner_names=owner_names,
    )
    try:
        if not layout.home.is_dir():
            _prove(layout.data_root, driver_name)
            _make_home(layout, driver_name, (id_maps or IdMaps()).root_pair[1])
    except PermissionError as err:
        raise explained(err, layout.home) from err
    return driver


def _prove(data_root: Path, driver_name: str) -> None:
    needed = dict([*_NEEDED.items(), _OVERLAY[driver_name]])
    for name, ability in probe(data_root, needed).items():
        if not ability.works:
            raise NotPossibleHere(
                f"the {driver_name} driver cannot work in {data_root}: {ability.reason}",
                details=f"It needs a file system and a kernel of which holds: {needed[name]}.",
                resolution="Use another file system (ext4, or xfs with ftype=1), as root.",
            )


def _make_home(layout: Layout, driver_name: str, group: int) -> None:
    """Modes and owners as of Docker 20.10.9; whole when it gets its name."""
    staging = layout.home.with_name(f".{layout.driver}-creating")
    staging.mkdir(0o700, exist_ok=True)
    if driver_name == OVERLAY2:
        (staging / layout.links.name).mkdir(0o700, exist_ok=True)
    os.chown(staging, os.geteuid(), group)
    staging.chmod(0o710)
    try:
        durable.rename(staging, layout.home)
    except OSError:
        # Somebody else has made one at the same time.
        if not layout.home.is_dir():
            raise
