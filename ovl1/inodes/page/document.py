"""The page itself: what it says, in which order, and what a browser may do with it.

Everything is in the one file. Its policy lets a browser load nothing and run nothing; the style
sheet is allowed by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import pkgutil
from datetime import datetime, timezone
from typing import Dict, Iterator, List, Sequence, Tuple

from ovl1.inodes.comparison import comparison, fewer_as_overlay2, together
from ovl1.inodes.page import tables
from ovl1.inodes.page.bars import (
    KINDS,
    bar,
    counted_legend,
    legend,
    told,
    tree_parts,
)
from ovl1.inodes.page.markup import (
    Content,
    Markup,
    element,
    figure,
    joined,
    name,
    sentence,
    size,
)
from ovl1.inodes.page.skyline import skyline
from ovl1.inodes.page.treemap import treemap
from ovl1.inodes.report import FileSystem, Report
from ovl1.store.layout import OVERLAY, OVERLAY2

_IN_SYSTEM = {
    "docker": "this data-root",
    "elsewhere": "elsewhere",
    "own": "the file system's own",
    "free": "free",
}
_IN_LAYOUT = {
    "directories": "directories",
    "others": "everything else in layers",
    "driver": "the driver's own",
    "rest": "the rest of the data-root",
}
_MOST = {
    "directories": "Directories",
    "symlinks": "Symbolic links",
    "files": "Regular files",
    "specials": "Special files",
}
_WHY = {
    "directories": "They cannot be shared: each layer of overlay has all directories once more.",
    "symlinks": "Docker makes them anew in every layer of overlay.",
    "files": "Each is kept once, however many layers of overlay have it.",
    "specials": "Among them are whiteouts, which hide what a lower layer has.",
}
_OPEN = 40
"""Tables of more rows are folded at first."""


def page(made: Report, at: datetime) -> str:
    """The report as an HTML document, to be encoded as UTF-8.

    Args:
        at: when it was made; aware of its time zone.
    """
    style = (pkgutil.get_data(__package__, "style.css") or b"").decode()
    title = f"Inodes of {made.data_root}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element("body", _header(made, at), element("main", *_sections(made)), _footer())
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _header(made: Report, at: datetime) -> Markup:
    time = at.astimezone(timezone.utc)
    return element(
        "header",
        sentence("Docker\u2019s ", element("em", made.driver), " store", class_="kicker"),
        element("h1", "Where the inodes went"),
        sentence(
            name(str(made.data_root)),
            " \u00b7 ",
            element("time", f"{time:%Y-%m-%d %H:%M} UTC", datetime=f"{time:%Y-%m-%dT%H:%MZ}"),
        ),
        element("div", *_tiles(made), class_="tiles"),
        *_verdict(made),
        *_warnings(made),
    )


def _tiles(made: Report) -> Iterator[Markup]:
    yield _tile(figure(made.total), "inodes of the data-root")
    if made.with_bytes:
        yield _tile(size(made.bytes), "which take on the disk")
    if made.total_as_overlay2 is not None:
        yield _tile(figure(made.total_as_overlay2), "inodes of the same as overlay2")
    if made.file_system.files:
        yield _tile(figure(made.file_system.free), "inodes free on the file system")


def _tile(value: Markup, about: str) -> Markup:
    return element("p", element("strong", value), " ", element("span", about), class_="tile")


def _verdict(made: Report) -> Iterator[Markup]:
    tree = together(made)
    kind, number = max(tree_parts(tree), key=lambda part: part[1])
    if not number:
        return
    of = joined([figure(number), " of the ", figure(tree.inodes)])
    said: List[Content] = [_MOST[kind], " take the most: ", of, " inodes that layers hold. "]
    if made.driver == OVERLAY:
        said.append(_WHY[kind])
        if kind != "directories":
            directories = figure(tree.directories)
            said += [" Directories take ", directories, ": each layer has all of them once more."]
    yield sentence(*said, class_="verdict")


def _warnings(made: Report) -> Iterator[Markup]:
    if made.moving:
        yield sentence(
            "Something was changed on this file system while it was counted: the figures are of "
            "no one moment.",
            class_="warning",
        )
    if made.unreadable:
        yield sentence(
            "What is below these directories could not be read, and is not counted: ",
            *_listed([name(path) for path in made.unreadable]),
            class_="warning",
        )


def _listed(parts: Sequence[Content]) -> List[Content]:
    listed: List[Content] = []
    for part in parts:
        listed += [", ", part] if listed else [part]
    return listed


def _sections(made: Report) -> Iterator[Markup]:
    yield _section("File systems", *map(_system, made.file_systems), tables.file_systems(made))
    yield _section("As it is, and as overlay2", *_layouts(made))
    if made.layers:
        yield _section("Layers", *_layers(made))
    if made.paths:
        yield _section("Directory trees", *_trees(made))
    if made.images:
        about = (
            "OWN are the inodes of layers that nothing else uses: removing the image frees them."
        )
        yield _section("Images", *_shares(about), tables.shares(made, "Image", made.images))
    if made.containers:
        about = "Without the image that each stands on."
        cells = tables.shares(made, "Container", made.containers)
        yield _section("Containers", *_shares(about), cells)
    if made.linked:
        yield _section("Nearest to the limit of hard links", *_linked(made))
    yield _section("The whole data-root", tables.others(made))


def _section(title: str, *content: Content) -> Markup:
    return element("section", element("h2", title), *content)


def _system(system: FileSystem) -> Markup:
    if not system.files:
        return sentence(name(system.path), f": {system.kind} does not count inodes.")
    parts = [(part, getattr(system, part)) for part in _IN_SYSTEM]
    said = sentence(
        name(system.path),
        f" lies on {system.kind}, which has ",
        figure(system.used),
        " of ",
        figure(system.files),
        " inodes in use. Elsewhere are those of neither this data-root nor the file system itself.",
    )
    drawn = bar(parts, system.files, height=22, label=told(parts, _IN_SYSTEM))
    return joined([said, drawn, counted_legend(parts, _IN_SYSTEM)])


def _layouts(made: Report) -> Iterator[Markup]:
    layouts = comparison(made)
    most = max(parts.total for parts in layouts.values())
    fewer = fewer_as_overlay2(made)
    if fewer is not None:
        much = [figure(fewer), " inodes fewer."] if fewer >= 0 else ["more inodes, not fewer."]
        yield sentence("What a migration makes of it takes ", *much)
    for layout, inodes in layouts.items():
        parts = [(part, getattr(inodes, part)) for part in _IN_LAYOUT]
        is_now = layout == made.driver
        title = element(
            "h3",
            layout,
            " ",
            element("span", "as it is" if is_now else "after migrating and purging"),
            " ",
            figure(inodes.total),
        )
        drawn = bar(parts, most, height=22, label=f"{layout}: {told(parts, _IN_LAYOUT)}")
        yield element("div", title, drawn, counted_legend(parts, _IN_LAYOUT), class_="layout")
    if OVERLAY2 not in layouts:
        yield _how_to_compare(made)


def _how_to_compare(made: Report) -> Markup:
    if made.driver != OVERLAY:
        return sentence(f"What a store of {made.driver} takes elsewhere is not told here.")
    if made.no_overlay2:
        return sentence("What it takes as overlay2 cannot be told: ", made.no_overlay2)
    command = element("code", "ovl1 inodes report --overlay2 --html FILE")
    return sentence(
        "What the same store takes as overlay2 is told by ",
        command,
        ": it compares every layer with its parent, which takes longer.",
        class_="hint",
    )


def _layers(made: Report) -> Iterator[Markup]:
    yield sentence(
        "One column for each layer, parents first: above the line what it takes, below it the "
        "further names (hard links) of inodes that other layers have brought, which take none. "
        "The two have scales of their own."
    )
    names: Dict[str, str] = {**KINDS, "shared": "shared names, which take none"}
    yield legend(names.items())
    yield skyline(made.layers)
    yield _folded("All layers", tables.layers(made), len(made.layers))
    if len(made.kinds) > 1:
        yield tables.kinds(made)


def _trees(made: Report) -> Iterator[Markup]:
    yield sentence(
        "Areas are inodes, of the same path in all layers together; the strip at the bottom of "
        "each shows what they are."
    )
    yield legend((kind, text) for kind, text in KINDS.items() if kind != "driver")
    yield treemap(made.paths, made.in_layers)
    yield _folded("All paths", tables.paths(made), len(made.paths))


def _shares(about: str) -> Tuple[Markup, Markup]:
    colours = (("alone", "its own"), ("shared", "shared with others"))
    return sentence(about), legend(colours)


def _linked(made: Report) -> Iterator[Markup]:
    yield sentence(
        "Each layer of overlay gives the files below it further names. When an inode has as many "
        "as its file system allows, no layer can be made on it any more (EMLINK)."
    )
    yield tables.linked(made)


def _folded(title: str, content: Markup, rows: int) -> Markup:
    return element("details", element("summary", title), content, open=rows <= _OPEN)


def _footer() -> Markup:
    return element(
        "footer",
        sentence(
            "Made by ",
            element("code", "ovl1 inodes report --html"),
            "; every figure is also in what ",
            element("code", "--json"),
            " prints. This page loads nothing and runs nothing.",
        ),
    )
