"""Containers as their configuration files record them: ``containers/<id>/config.v2.json``.

The directory is shared by the containers of all storage drivers, so each is kept with its driver.
The states are those on disk, which a killed daemon leaves as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from ovl1.errors import BrokenStore
from ovl1.model import ContainerId, ImageId
from ovl1.store import layout as names
from ovl1.store.folder import Folder, read_each
from ovl1.store.jsontext import replace_value
from ovl1.store.layout import Layout
from ovl1.store.problem import Problem


@dataclass(frozen=True)
class Container:
    """One container."""

    container_id: ContainerId
    name: str
    """Without Docker's leading slash."""
    driver: str
    """The storage driver its layers belong to."""
    image_id: Optional[ImageId]
    running: bool
    paused: bool
    dead: bool
    """Whether its removal had begun."""
    mount_label: str
    """The SELinux label of its mounts, or empty."""
    config_path: Path

    @property
    def status(self) -> str:
        """The state in one word."""
        if self.dead:
            return "dead"
        if self.paused:
            return "paused"
        return "running" if self.running else "stopped"


@dataclass(frozen=True)
class ContainerTable:
    """All readable containers of a data-root, whatever their driver."""

    containers: Dict[ContainerId, Container] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)


def read_containers(layout: Layout) -> ContainerTable:
    """Read every container of the data-root.

    Raises:
        NotPossibleHere: this user may not read them.
    """
    problems: List[Problem] = []
    found = read_each(
        layout.data_root, layout.containers, ContainerId.parse, _read_container, problems
    )
    return ContainerTable(found, problems)


def read_config(layout: Layout, container_id: ContainerId) -> Dict[str, Any]:
    """The whole ``config.v2.json`` of a container.

    Raises:
        BrokenStore: it is missing or no JSON object.
    """
    with Folder.open(layout.data_root, layout.container(container_id)) as folder:
        return folder.json(names.CONFIG)


def replace_driver(config: bytes, old: str, new: str) -> bytes:
    """Change the storage driver in the text of a ``config.v2.json``, and not one byte beside it.

    Raises:
        BrokenStore: it is no JSON object with exactly one key ``Driver``, of value `old`.
    """
    return replace_value(config, "Driver", old, new)


def _read_container(entry: Folder, container_id: ContainerId) -> Container:
    path = entry.path / names.CONFIG
    if not entry.exists(names.CONFIG) and entry.exists(names.LEGACY_CONFIG):
        raise BrokenStore(
            "the container is in the form before Docker 1.10",
            details=str(entry.path),
            resolution="Docker 1.10 to 18.09 convert it at their start.",
        )
    config = entry.json(names.CONFIG)
    if config.get("ID") != container_id:
        raise BrokenStore(
            f"the configuration is that of another container, {str(config.get('ID'))[:64]!r}",
            details=str(path),
        )
    state = config.get("State")
    if not isinstance(state, dict):
        state = {}
    return Container(
        container_id=container_id,
        name=_text(config, "Name").lstrip("/"),
        driver=_text(config, "Driver"),
        image_id=_image_id(config),
        running=state.get("Running") is True,
        paused=state.get("Paused") is True,
        dead=state.get("Dead") is True or state.get("RemovalInProgress") is True,
        mount_label=_text(config, "MountLabel"),
        config_path=path,
    )


def _image_id(config: Dict[str, Any]) -> Optional[ImageId]:
    try:
        return ImageId.parse(_text(config, "Image"))
    except BrokenStore:
        return None  # Found again as a problem when images and containers are compared.


def _text(of: Dict[str, Any], key: str) -> str:
    value = of.get(key)
    return value if isinstance(value, str) else ""
