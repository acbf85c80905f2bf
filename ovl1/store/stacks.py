"""How overlay2 says what lies below a layer: ``link``, ``lower``, and the links in ``l/``.

``<id>/link`` holds the layer's short name, ``l/<short name>`` is a symbolic link to
``../<id>/diff``, and ``<id>/lower`` lists the short names of all layers below, nearest first. The
links are read as data and never followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Set, Tuple

from ovl1.errors import BrokenStore
from ovl1.linux.beneath import DIR, LINK, Name
from ovl1.model import LayerId
from ovl1.store import layout as names
from ovl1.store.folder import Folder
from ovl1.store.problem import Problem

_SHORT_NAME = re.compile(r"[A-Z2-7]{26}")
_TARGET = re.compile(r"\.\./([^/]+)/diff")
_REMAKE = "Docker makes the link again when it starts, if the layer's own `link` file is whole."


@dataclass
class Links:
    """The usable links of ``l/``: short names to layers."""

    path: Path = Path(names.LINKS)
    targets: Dict[str, LayerId] = field(default_factory=dict)
    used: Set[str] = field(default_factory=set)

    def report_unused(self, problems: List[Problem]) -> None:
        """Note the links that no layer calls its own."""
        problems.extend(
            Problem.note(
                self.path / short,
                f"layer {self.targets[short].short} has another short name",
                "It may be removed while no daemon runs.",
            )
            for short in sorted(set(self.targets) - self.used)
        )


def read_links(home: Folder, problems: List[Problem]) -> Links:
    """Read ``l/``; links that dangle or point elsewhere are reported and left out."""
    links = Links(home.path / names.LINKS)
    try:
        folder = home.child(names.LINKS)
    except BrokenStore as error:
        problems.append(Problem.of(links.path, error))
        return links
    with folder:
        for name in folder.names():
            text = name.name.decode("utf-8", "surrogateescape")
            try:
                links.targets[text] = _target(home, folder, name, text)
            except BrokenStore as error:
                problems.append(Problem(folder.path / text, error.brief, error.resolution))
    return links


def read_stack(entry: Folder, layer_id: str, links: Links) -> Tuple[LayerId, ...]:
    """The layers below an overlay2 layer, nearest first.

    Raises:
        BrokenStore: it has no ``diff``, or its ``link`` or ``lower`` cannot be followed.
    """
    kinds = {name.name: name.kind for name in entry.names()}
    if kinds.get(names.DIFF.encode()) != DIR:
        raise BrokenStore("it has no diff directory")
    short = entry.text(names.LINK)
    if links.targets.get(short) != layer_id:
        raise BrokenStore(f"its short name {short[:40]!r} is not in l/", resolution=_REMAKE)
    links.used.add(short)
    if names.LOWER.encode() not in kinds:
        return ()
    return tuple(_lower(item, links) for item in entry.text(names.LOWER).split(":"))


def _lower(item: str, links: Links) -> LayerId:
    folder, slash, short = item.partition("/")
    if folder != names.LINKS or not slash:
        raise BrokenStore(f"its lower names {item[:80]!r}, which is not below l/")
    if short not in links.targets:
        raise BrokenStore(f"its lower names {item[:80]!r}, which leads nowhere", resolution=_REMAKE)
    return links.targets[short]


def _target(home: Folder, folder: Folder, name: Name, text: str) -> LayerId:
    if name.kind != LINK or not _SHORT_NAME.fullmatch(text):
        raise BrokenStore("it is not one of overlay2's links")
    target = folder.directory.readlink(name.name).decode("utf-8", "surrogateescape")
    match = _TARGET.fullmatch(target)
    if match is None:
        raise BrokenStore(f"it points elsewhere: {target[:120]!r}", resolution=_REMAKE)
    layer_id = LayerId.parse(match.group(1))
    if not home.exists(layer_id):
        raise BrokenStore(f"it dangles: layer {layer_id.short} is gone", resolution=_REMAKE)
    return layer_id
