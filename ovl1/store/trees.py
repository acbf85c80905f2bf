"""What lies in a driver's home: one directory for each layer, told apart by what is in it.

``overlay`` has complete trees (``root``) and changes over one of them (``upper`` + ``lower-id``:
containers, and image layers that BuildKit made). ``overlay2`` has ``diff`` directories and names
those below through the links in ``l/``; see `ovl1.store.stacks`. Everything else is a leftover.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ovl1.errors import BrokenStore
from ovl1.linux.beneath import DIR, Name
from ovl1.model import LayerId
from ovl1.store import layout as names
from ovl1.store.folder import Folder
from ovl1.store.layout import OVERLAY2, Layout
from ovl1.store.problem import Problem
from ovl1.store.stacks import Links, read_links, read_stack

IMAGE, READ_WRITE, STACKED, LEFTOVER = "image", "read-write", "stacked", "leftover"

_UNUSED = "If nothing refers to it, it may be removed while no daemon runs."
_ALIEN = ("lost+found",)


@dataclass(frozen=True)
class Tree:
    """One directory of the driver's home.

    `kind` is `IMAGE` (overlay: ``root``), `READ_WRITE` (overlay: ``upper`` and ``lower-id``),
    `STACKED` (overlay2: ``diff``), or `LEFTOVER` with a `reason` why it is none of them.
    """

    name: str
    kind: str
    lowers: Tuple[LayerId, ...] = ()
    """The layers below it by its own account, nearest first; overlay names one only."""
    reason: str = ""

    @property
    def layer_id(self) -> LayerId:
        """The name as an id.

        Raises:
            BrokenStore: a leftover may have any name.
        """
        return LayerId.parse(self.name)

    @property
    def lower(self) -> Optional[LayerId]:
        """The nearest layer below it."""
        return self.lowers[0] if self.lowers else None

    @property
    def is_buildkit(self) -> bool:
        """Whether BuildKit chose the name: 25 characters instead of 64 digits."""
        return len(self.name) == 25

    def paths(self, layout: Layout) -> List[Path]:
        """The directories that make up the layer's view, topmost first.

        Raises:
            BrokenStore: it is a leftover.
        """
        if self.kind == IMAGE:
            return [layout.root(self.layer_id)]
        if self.kind == READ_WRITE:
            return [layout.upper(self.layer_id), *map(layout.root, self.lowers)]
        if self.kind == STACKED:
            return [layout.diff(self.layer_id), *map(layout.diff, self.lowers)]
        raise BrokenStore(f"{self.name!r} is no layer: {self.reason}", resolution=_UNUSED)


@dataclass(frozen=True)
class TreeTable:
    """All directories of a driver's home, by name."""

    trees: Dict[str, Tree] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)


def read_trees(layout: Layout) -> TreeTable:
    """Look at every directory of the driver's home; trees themselves are not entered.

    Raises:
        NotPossibleHere: this user may not read them.
    """
    table = TreeTable()
    stacked = layout.driver == OVERLAY2
    try:
        with Folder.open(layout.data_root, layout.home) as home:
            links = read_links(home, table.problems) if stacked else Links()
            for name in home.names():
                text = name.name.decode("utf-8", "surrogateescape")
                if text in _ALIEN or (stacked and text == names.LINKS):
                    continue
                tree = _classified(home, name, text, links if stacked else None, table)
                table.trees[text] = tree
                if tree.kind == LEFTOVER:
                    table.problems.append(
                        Problem.note(home.path / text, f"no layer: {tree.reason}", _UNUSED)
                    )
            if stacked:
                links.report_unused(table.problems)
    except BrokenStore as error:
        table.problems.append(Problem.of(layout.home, error))
    _report_lowers(layout, table)
    return table


def _classified(
    home: Folder, name: Name, text: str, links: Optional[Links], table: TreeTable
) -> Tree:
    if name.kind != DIR:
        return Tree(text, LEFTOVER, reason="it is not a directory")
    try:
        LayerId.parse(text)
        with home.child(text) as entry:
            if links is None:
                return _overlay(entry, text, table)
            stack = read_stack(entry, text, links)
            return Tree(text, STACKED, stack)
    except BrokenStore as error:
        return Tree(text, LEFTOVER, reason=error.brief)


def _overlay(entry: Folder, text: str, table: TreeTable) -> Tree:
    kinds = {name.name.decode("utf-8", "surrogateescape"): name.kind for name in entry.names()}
    unfinished = [name for name in kinds if name.startswith(names.TMPROOT)]
    if names.ROOT in kinds:
        if kinds[names.ROOT] != DIR:
            return Tree(text, LEFTOVER, reason="its root is not a directory")
        for extra in (*unfinished, names.UPPER, names.LOWER_ID):
            if extra in kinds:
                table.problems.append(
                    Problem.note(
                        entry.path / extra,
                        "left beside a complete root by an interrupted apply; the root counts",
                        "It may be removed while no daemon runs.",
                    )
                )
        return Tree(text, IMAGE)
    if names.LOWER_ID in kinds and kinds.get(names.UPPER) == DIR:
        return Tree(text, READ_WRITE, (_lower_id(entry, table),))
    return Tree(text, LEFTOVER, reason=_what_is_missing(kinds, unfinished))


def _what_is_missing(kinds: Dict[str, str], unfinished: List[str]) -> str:
    if not kinds:
        return "it is empty"
    if names.UPPER in kinds and names.LOWER_ID not in kinds:
        return "its lower-id is missing"
    if names.LOWER_ID in kinds:
        return "its upper is missing"
    if unfinished:
        return "its tar was being unpacked when the daemon stopped (tmproot)"
    return "it has neither root nor upper and lower-id"


def _lower_id(entry: Folder, table: TreeTable) -> LayerId:
    content = entry.read(names.LOWER_ID)
    text = content.decode("utf-8", "backslashreplace")
    path = entry.path / names.LOWER_ID
    try:
        lower = LayerId.parse(text, str(path))
    except BrokenStore as error:
        torn = f"its lower-id is torn: {len(content)} bytes, {text[:80]!r}"
        raise BrokenStore(torn, details=str(path)) from error
    if lower != text:
        table.problems.append(
            Problem.note(
                path,
                "there is white space around the id, with which Docker cannot mount the layer",
                "Remove it from the file.",
            )
        )
    return lower


def _report_lowers(layout: Layout, table: TreeTable) -> None:
    for tree in table.trees.values():
        for lower in tree.lowers:
            below = table.trees.get(lower)
            wanted = STACKED if tree.kind == STACKED else IMAGE
            if below is None or below.kind != wanted:
                table.problems.append(
                    Problem(
                        layout.home / tree.name,
                        f"the layer below it, {lower.short}, is missing or no {wanted} layer",
                        "Remove the container or image that it belongs to.",
                    )
                )
