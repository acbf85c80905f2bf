"""All layers as columns, parents first: above the line what they take, below what they share.

The two sides have scales of their own: names of inodes that other layers brought take nothing.
"""

from __future__ import annotations

from typing import Iterator, Sequence

from ovl1.inodes.page.bars import KINDS, layer_parts, share, told
from ovl1.inodes.page.markup import Markup, element, grouped
from ovl1.inodes.report import LayerUse

_TOP = 22
_TAKEN = 220
_SHARED = 70
_GAP = 0.18
"""Part of a column's width that is left free."""
_WIDEST = 0.08
"""Part of the whole width that a column takes at most."""


def skyline(layers: Sequence[LayerUse]) -> Markup:
    """The chart; nothing if there are no layers."""
    if not layers:
        return Markup("")
    most = max(use.inodes for use in layers)
    names = max(use.tree.shared for use in layers)
    base = _TOP + _TAKEN
    lines = [
        element("line", class_="grid", x1="0", x2="100%", y1=_TOP, y2=_TOP),
        element("text", f"{grouped(most)} inodes", class_="mark", x="0", y=_TOP - 7),
        element("line", class_="axis", x1="0", x2="100%", y1=base, y2=base),
    ]
    height = base + 4
    if names:
        height = base + _SHARED + 22
        bottom = base + _SHARED
        lines += [
            element("line", class_="grid", x1="0", x2="100%", y1=bottom, y2=bottom),
            element("text", f"{grouped(names)} shared names", class_="mark", x="0", y=bottom + 15),
        ]
    width = min(1 / len(layers), _WIDEST)
    columns = (
        column
        for number, use in enumerate(layers)
        for column in _column(use, number * width, width, most, names)
    )
    return element(
        "svg",
        element("title", "Inodes of each layer, parents first", id="skyline-title"),
        element("desc", "All figures are in the table that follows.", id="skyline-desc"),
        *lines,
        *columns,
        class_="skyline",
        width="100%",
        height=height,
        role="img",
        aria_labelledby="skyline-title skyline-desc",
    )


def _column(use: LayerUse, left: float, width: float, most: int, names: int) -> Iterator[Markup]:
    x, across = share(left + width * _GAP / 2, 1), share(width * (1 - _GAP), 1)
    base = y = float(_TOP + _TAKEN)
    rectangles = []
    for kind, number in layer_parts(use):
        height = _TAKEN * number / most if most else 0
        if height:
            y -= height
            rectangles.append(_rectangle(kind, x, y, across, height))
    if use.tree.shared:
        height = _SHARED * use.tree.shared / names
        rectangles.append(_rectangle("shared", x, base + 1, across, height))
    text = f"{use.kind} {use.name[:12]}: {grouped(use.inodes)} inodes"
    parts = told(layer_parts(use), KINDS)
    shared = f"; {grouped(use.tree.shared)} shared names" if use.tree.shared else ""
    yield element("g", element("title", f"{text} ({parts}){shared}"), *rectangles)


def _rectangle(kind: str, x: str, y: float, width: str, height: float) -> Markup:
    return element(
        "rect", class_=f"is-{kind}", x=x, y=f"{y:.2f}", width=width, height=f"{height:.2f}"
    )
