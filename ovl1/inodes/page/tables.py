"""The tables of the page: the same figures as its charts show, and those that none shows."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union

from ovl1.driver.convert import INIT
from ovl1.inodes.page.bars import KINDS, bar, layer_parts, told
from ovl1.inodes.page.markup import (
    Content,
    Markup,
    element,
    figure,
    joined,
    name,
    short,
    size,
    table,
)
from ovl1.inodes.report import LayerUse, Report, Share
from ovl1.inodes.tally import Counts

_COUNTED = (">Directories", ">Symlinks", ">Special", ">Files")
_OWN = {"alone": "its own", "shared": "shared with others"}
_BAR = 12


def layers(made: Report) -> Markup:
    """One row for each layer, parents first."""
    owners = _owners(made)
    most = max((use.inodes for use in made.layers), default=0)
    columns = ["Layer", "Of", "Made of", *_COUNTED, ">Driver", ">Inodes", ">Shared names"]
    rows = [
        [
            short(use.name),
            _owner(use, owners),
            _stack(use, most),
            *_counted(use.tree),
            figure(use.overhead),
            figure(use.inodes),
            figure(use.tree.shared),
            *_size(made, use.bytes),
        ]
        for use in made.layers
    ]
    return table("Layers, parents first", [*columns, *_size_column(made)], rows)


def paths(made: Report) -> Markup:
    """The heaviest directory trees."""
    columns = ["Path", ">Layers", *_COUNTED, ">Inodes", ">Shared names", *_size_column(made)]
    rows = [
        [
            name(use.path),
            figure(use.layers),
            *_counted(use.tree),
            figure(use.inodes),
            figure(use.tree.shared),
            *_size(made, use.tree.bytes),
        ]
        for use in made.paths
    ]
    return table("The heaviest directory trees of all layers", columns, rows)


def shares(made: Report, what: str, which: Sequence[Share]) -> Markup:
    """Images, or containers, heaviest first."""
    most = max((share.inodes for share in which), default=0)
    sizes = [">Size", ">Own size"] if made.with_bytes else []
    counted = [">Layers", *_COUNTED, ">Driver"]
    columns = [what, "Id", "Own and shared", *counted, ">Inodes", ">Shared", ">Own", *sizes]
    rows = [
        [
            _names(share.names),
            short(share.id),
            _own(share, most),
            figure(share.layers),
            *_counted(share.tree),
            figure(share.overhead),
            figure(share.inodes),
            figure(share.inodes - share.own),
            figure(share.own),
            *_size(made, share.bytes),
            *_size(made, share.own_bytes),
        ]
        for share in sorted(which, key=lambda share: -share.inodes)
    ]
    return table(f"{what}s, heaviest first", columns, rows)


def kinds(made: Report) -> Markup:
    """Layers by whose they are."""
    most = max((share.inodes for share in made.kinds), default=0)
    columns = ["Kind", "Made of", ">Layers", *_COUNTED, ">Driver", ">Inodes", *_size_column(made)]
    rows = [
        [
            share.id,
            _stack(share, most),
            figure(share.layers),
            *_counted(share.tree),
            figure(share.overhead),
            figure(share.inodes),
            *_size(made, share.bytes),
        ]
        for share in made.kinds
    ]
    return table("Layers by kind", columns, rows)


def others(made: Report) -> Markup:
    """The data-root's top-level directories."""
    rows: List[List[Content]] = [
        [name(f"{made.driver}/"), figure(made.in_layers)],
        *(
            [name(f"{of}/") if of != "." else "the data-root itself", figure(counts.inodes)]
            for of, counts in made.others
        ),
        ["together", figure(made.total)],
    ]
    return table("The data-root, by directory", ["Directory", ">Inodes"], rows)


def file_systems(made: Report) -> Markup:
    """What each file system has."""
    rows = [
        [
            name(system.path),
            system.kind,
            figure(system.docker),
            figure(system.elsewhere) if system.files else "not counted",
            figure(system.own),
            figure(system.used) if system.files else "not counted",
            figure(system.free) if system.files else "not counted",
            figure(system.files) if system.files else "not counted",
        ]
        for system in made.file_systems
    ]
    figures = [">Data-root", ">Elsewhere", ">Its own", ">Used", ">Free", ">All"]
    return table("Inodes of the file systems", ["Directory", "Kind", *figures], rows)


def linked(made: Report) -> Markup:
    """The files with the most names."""
    columns = ["File", ">Names in its layer", ">Names", ">Limit", ">Layers that still fit"]
    rows = [
        [name(each.path), figure(each.names), figure(each.links), *map(_limit, limits)]
        for each in made.linked
        for limits in [(each.limit, each.more_layers)]
    ]
    return table("The files with the most names", columns, rows)


def _limit(number: Optional[int]) -> Content:
    return "none" if number is None else figure(number)


def _owners(made: Report) -> Dict[str, Markup]:
    """Containers' names by their ids. An image's layer may be several images'."""
    return {share.id: _names(share.names) for share in made.containers if share.names}


def _owner(use: LayerUse, owners: Mapping[str, Markup]) -> Content:
    if use.of not in owners:
        return use.kind
    return joined([f"{use.kind} of " if use.kind == INIT else f"{use.kind} ", owners[use.of]])


def _names(names: Iterable[str]) -> Markup:
    shown = [name(each) for each in names]
    return joined(_apart(shown)) if shown else element("span", "no name", class_="muted")


def _apart(parts: Sequence[Markup]) -> Iterator[Content]:
    for number, part in enumerate(parts):
        yield " " if number else ""
        yield part


def _stack(use: Union[LayerUse, Share], most: int) -> Markup:
    parts = layer_parts(use)
    return bar(parts, most, height=_BAR, label=told(parts, KINDS) or "nothing")


def _own(share: Share, most: int) -> Markup:
    parts = [("alone", share.own), ("shared", share.inodes - share.own)]
    return bar(parts, most, height=_BAR, label=told(parts, _OWN) or "nothing")


def _counted(tree: Counts) -> List[Markup]:
    return [figure(n) for n in (tree.directories, tree.symlinks, tree.specials, tree.files)]


def _size_column(made: Report) -> List[str]:
    return [">Size"] if made.with_bytes else []


def _size(made: Report, number: int) -> List[Markup]:
    return [size(number)] if made.with_bytes else []
