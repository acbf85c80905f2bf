"""Handing an existing store to the plugin, and back to Docker's own driver.

Docker keeps a store under its driver's name: the layers, the metadata, and what each container
says. So it is two renames and a word in each container's configuration, in either direction, with
whatever Docker has done in between. What is to be done is written to ``.ovl1-adopt`` in the
data-root first, and removed with it when it is done: killed at any moment, the same command
finishes the work, and the opposite one takes it back.

Limits: while it runs, and until it is finished, no daemon may be started.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ovl1.errors import BrokenStore, HalfDone, Refused, WrongUsage
from ovl1.linux import durable, locks
from ovl1.linux.procs import users_of
from ovl1.model import ContainerId
from ovl1.store.containers import read_containers, replace_driver
from ovl1.store.discovery import DRIVERS, discover
from ovl1.store.folder import Folder
from ovl1.store.layout import CONFIG, OVERLAY, OVERLAY2, Layout

NAME = "ovl1"
"""Of the storage driver, if nobody chooses another."""

_JOURNAL = ".ovl1-adopt"
_MIGRATION = ".ovl1"  # See `ovl1.migrate.area`.
_VERSION = 1
_VALID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_ASIDE = ".ovl1-"  # What is of ours, and no driver's name.

ENGINES = (
    ("1.12 and older", "know no such plugins"),
    ("1.13 - 26", 'use it, with "experimental": true'),
    ("27", "uses it, with that and DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1 in its environment"),
    ("28 and later", "refuse to start: storage drivers cannot be plugins any more"),
)
"""What Docker's engines do when their ``storage-driver`` is a plugin."""


@dataclass(frozen=True)
class Adopted:
    """A store that is a plugin's."""

    name: str
    """Of the plugin, as Docker's storage driver."""
    layout: str
    """Of its layers: ``overlay`` or ``overlay2``."""


@dataclass(frozen=True)
class HandOver:
    """A store that gets another driver's name, in one direction."""

    data_root: Path
    old: str
    new: str
    containers: Tuple[ContainerId, ...]
    times: Dict[str, List[int]]
    """Of the directories in which names change, so that they can be given back."""

    @property
    def record(self) -> bytes:
        """For the journal."""
        values = {key: value for key, value in vars(self).items() if key != "data_root"}
        values["version"] = _VERSION
        return json.dumps(values, sort_keys=True).encode() + b"\n"

    @property
    def reversed(self) -> HandOver:
        """The way back."""
        return replace(self, old=self.new, new=self.old)

    @property
    def moves(self) -> List[Tuple[Path, Path]]:
        """Directories in the order in which they are renamed."""
        source, target = (Layout(self.data_root, name) for name in (self.old, self.new))
        return [(source.image, target.image), (source.home, target.home)]

    @property
    def layout(self) -> str:
        """Of the layers, wherever they are now: ``overlay`` or ``overlay2``."""
        layouts = {_layout_of(Layout(self.data_root, name)) for name in (self.old, self.new)}
        return OVERLAY2 if OVERLAY2 in layouts else OVERLAY


def adopted(data_root: Path) -> List[Adopted]:
    """The stores of plugins in a data-root, which holds no symbolic link.

    Raises:
        NotPossibleHere: this user may not read it.
    """
    folder = Folder.find(data_root, data_root / "image")
    if folder is None:
        return []
    with folder:
        names = [name.name.decode("utf-8", "replace") for name in folder.names()]
    layouts = [Layout(data_root, name) for name in names if _is_plugins(name)]
    return [
        Adopted(layout.driver, _layout_of(layout))
        for layout in layouts
        if layout.home.is_dir() and layout.layers.is_dir()
    ]


def adopt(data_root: Path, driver: str, name: str = NAME) -> HandOver:
    """Hand the store of Docker's own driver to the plugin `name`; durable when it returns.

    Goes on with what was interrupted, and takes back a return that was.

    Args:
        driver: ``overlay`` or ``overlay2``.

    Raises:
        WrongUsage: there is no such store, or the name cannot be.
        Refused: somebody uses it, or a migration is not finished, or both names are taken;
            nothing was changed.
        HalfDone: something else has come into the way meanwhile.
    """
    if not _is_plugins(name):
        raise WrongUsage(
            f"{name!r} cannot be the name of a plugin",
            details="It must be lower case letters, digits, and _.- between them, and not the name "
            "of a driver that Docker has or had.",
        )
    return _hand_over(discover(data_root).path, driver, name)


def undo(data_root: Path, name: str = NAME) -> HandOver:
    """Hand the plugin's store back to Docker's own driver of its layout; otherwise as `adopt`."""
    root = discover(data_root).path
    journal = _read(root)
    if journal is not None:
        driver = journal.old if journal.new == name else journal.new
    else:
        driver = _layout_of(Layout(root, name))
    return _hand_over(root, name, driver)


def unfinished(data_root: Path) -> Optional[HandOver]:
    """What was begun, and is neither finished nor taken back.

    Raises:
        BrokenStore: the journal cannot be read.
    """
    return _read(data_root)


def _hand_over(root: Path, old: str, new: str) -> HandOver:
    with locks.exclusive(root):
        _refuse_if_used(root)
        begun = _read(root)
        if begun is None:
            plan = _planned(root, old, new)
            durable.write_file(root / _JOURNAL, plan.record, mode=0o600)
        elif (begun.old, begun.new) == (old, new):
            plan = begun
        elif (begun.new, begun.old) == (old, new):
            plan = begun.reversed
        else:
            raise Refused(
                f"the store is half-way from {begun.old} to {begun.new}",
                resolution="Finish that first, or take it back: `ovl1 adopt`, "
                "`ovl1 adopt --undo`, with the same names.",
            )
        _do(plan)
        return plan


def _refuse_if_used(root: Path) -> None:
    users = users_of(root)
    if users:
        raise Refused(
            f"{root} is in use",
            details="\n".join(
                f"process {user.pid} ({user.command}) {user.what}" for user in users[:10]
            ),
            resolution="Stop Docker (systemctl stop docker.socket docker), unmount what is still "
            "mounted below, then run this again.",
        )
    if os.path.lexists(root / _MIGRATION):
        raise Refused(
            f"{root} has a migration that is not finished",
            resolution="Finish it (`ovl1 migrate purge`) or take it back (`ovl1 migrate "
            "rollback`) first.",
        )


def _planned(root: Path, old: str, new: str) -> HandOver:
    source = Layout(root, old)
    plan = HandOver(root, old, new, (), {})
    if not (source.home.is_dir() and source.layers.is_dir()):
        stores = ", ".join([found.driver for found in discover(root).stores]) or "none"
        raise WrongUsage(
            f"there is no store of {old} in {root}, in the form since Docker 1.10",
            details=f"Stores of Docker's own drivers: {stores}. "
            f"Of plugins: {', '.join(each.name for each in adopted(root)) or 'none'}.",
        )
    for before, after in plan.moves:
        if before.is_symlink() or before.lstat().st_dev != root.stat().st_dev:
            raise Refused(
                f"{before} is a link, or on a file system of its own; it cannot be renamed",
                resolution="Mount that file system on the data-root instead.",
            )
        if os.path.lexists(after):
            raise Refused(
                f"{after} exists already",
                details="The data-root holds a store of both drivers, or what is left of one.",
                resolution="Move it away if it is not needed.",
            )
    containers = [
        container.container_id
        for container in read_containers(source).containers.values()
        if container.driver == old
    ]
    changing = [root, source.image.parent, *map(source.container, containers)]
    times = {_within(root, path): _times(path) for path in changing}
    return replace(plan, containers=tuple(containers), times=times)


def _do(plan: HandOver) -> None:
    """Each step sees what has been done already. Containers come first, and trees last: a daemon
    that is started in between, though it must not be, then shows less than there is.
    """
    layout = Layout(plan.data_root, plan.new)
    for container_id in plan.containers:
        # Docker may have removed it, before an interrupted return was finished.
        if layout.container(container_id).is_dir():
            _switch(layout, container_id, plan.old, plan.new)
    for source, target in plan.moves:
        _move(source, target)
    (plan.data_root / _JOURNAL).unlink()
    for name, times in plan.times.items():
        with contextlib.suppress(FileNotFoundError):
            os.utime(plan.data_root / name, ns=(times[0], times[1]))
    durable.sync_directory(plan.data_root)


def _switch(layout: Layout, container_id: ContainerId, old: str, new: str) -> None:
    path = layout.container_config(container_id)
    with contextlib.suppress(FileNotFoundError):
        durable.temporary(path).unlink()
    with Folder.open(layout.data_root, path.parent) as folder:
        if not folder.exists(CONFIG) or folder.json(CONFIG).get("Driver") == new:
            return
        config = folder.read(CONFIG)
    status = path.lstat()
    durable.write_file(
        path,
        replace_driver(config, old, new),
        mode=status.st_mode & 0o7777,
        owner=(status.st_uid, status.st_gid),
        times_ns=(status.st_atime_ns, status.st_mtime_ns),
    )


def _move(source: Path, target: Path) -> None:
    here, there = os.path.lexists(source), os.path.lexists(target)
    if here == there:
        raise HalfDone(
            f"cannot rename {source} to {target}: {'both exist' if here else 'neither exists'}",
            details="Something else, maybe a daemon, has changed the data-root meanwhile.",
            resolution=f"Move away what is not of the store, so that only one of them is there; "
            f"then run this again. What is to be done is in {_JOURNAL}.",
        )
    if here:
        durable.rename(source, target)


def _read(root: Path) -> Optional[HandOver]:
    with Folder.open(root, root) as folder:
        if not folder.exists(_JOURNAL):
            return None
        values = folder.json(_JOURNAL)
    try:
        return _parsed(root, values)
    except (KeyError, TypeError, ValueError, AttributeError, BrokenStore) as err:
        raise BrokenStore(
            f"{_JOURNAL} cannot be read: {err}",
            details=os.fspath(root / _JOURNAL),
            resolution="Use the version of ovl1 that wrote it, or restore it from a backup.",
        ) from err


def _parsed(root: Path, values: Dict[str, Any]) -> HandOver:
    if values["version"] != _VERSION:
        raise ValueError(f"it is of version {values['version']}")
    old, new = (str(values[key]) for key in ("old", "new"))
    for name in (old, new):
        if not (_is_plugins(name) or name in (OVERLAY, OVERLAY2)):
            raise ValueError(f"{name!r} is no driver")
    containers = tuple(map(ContainerId.parse, values["containers"]))
    plan = HandOver(root, old, new, containers, {})
    changing = [root, Layout(root, old).image.parent]
    changing += [Layout(root, old).container(each) for each in containers]
    for path in changing:
        times = values["times"].get(_within(root, path))
        if times:
            plan.times[_within(root, path)] = [int(times[0]), int(times[1])]
    return plan


def _is_plugins(name: str) -> bool:
    return bool(_VALID.fullmatch(name)) and name not in DRIVERS and _ASIDE not in name


def _layout_of(layout: Layout) -> str:
    return OVERLAY2 if layout.links.is_dir() else OVERLAY


def _within(root: Path, path: Path) -> str:
    return os.fspath(path.relative_to(root))


def _times(path: Path) -> List[int]:
    status = path.stat()
    return [status.st_atime_ns, status.st_mtime_ns]
