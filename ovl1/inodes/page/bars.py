"""Stacked bars, and what their colours mean. Widths are percentages: text keeps its size."""

from __future__ import annotations

from typing import Dict, Iterable, List, Sequence, Tuple, Union

from ovl1.inodes.page.markup import Content, Markup, element, figure, grouped
from ovl1.inodes.report import LayerUse, Share
from ovl1.inodes.tally import Counts

KINDS: Dict[str, str] = {
    "directories": "directories",
    "symlinks": "symbolic links",
    "files": "files, first here",
    "specials": "special files",
    "driver": "the driver's own",
}
"""What takes inodes in a layer, in the order of the stacks."""

Parts = Sequence[Tuple[str, int]]
"""Segments of a bar: the class that colours each, and its length."""


def tree_parts(tree: Counts) -> Parts:
    """What a tree's inodes are."""
    figures = (tree.directories, tree.symlinks, tree.files, tree.specials)
    return list(zip(KINDS, figures))


def layer_parts(use: Union[LayerUse, Share]) -> Parts:
    """What the inodes of layers are."""
    return [*tree_parts(use.tree), ("driver", use.overhead)]


def told(parts: Parts, names: Dict[str, str]) -> str:
    """The parts in words, without those that are nothing."""
    return ", ".join(f"{grouped(length)} {names[kind]}" for kind, length in parts if length)


def bar(parts: Parts, whole: int, *, height: int, label: str) -> Markup:
    """A horizontal stacked bar.

    Args:
        whole: how long a bar would be that takes all the width.
        height: in CSS pixels.
        label: what it says, for those who do not see it.
    """
    return element(
        "svg",
        element("title", label),
        *segments(parts, whole, height),
        class_="bar",
        width="100%",
        height=height,
        role="img",
        aria_label=label,
    )


def segments(parts: Parts, whole: int, height: int, y: float = 0) -> List[Markup]:
    """The rectangles of a horizontal stacked bar."""
    found, start = [], 0
    for kind, length in parts:
        if length > 0:
            found.append(
                element(
                    "rect",
                    class_=f"is-{kind}",
                    x=share(start, whole),
                    y=f"{y:g}",
                    width=share(length, whole),
                    height=height,
                )
            )
            start += length
    return found


def share(length: float, whole: float) -> str:
    """A length as a percentage of the width."""
    return f"{100 * length / whole:.4g}%" if whole else "0%"


def legend(kinds: Iterable[Tuple[str, Content]]) -> Markup:
    """What the colours mean."""
    entries = [element("li", _swatch(kind), text) for kind, text in kinds]
    return element("ul", *entries, class_="legend")


def counted_legend(parts: Parts, names: Dict[str, str]) -> Markup:
    """What the colours mean, with the figure of each part."""
    return legend(
        (kind, Markup(f"{figure(length)} {element('span', names[kind])}")) for kind, length in parts
    )


def _swatch(kind: str) -> Markup:
    box = element("rect", class_=f"is-{kind}", width=11, height=11, rx=2)
    return element("svg", box, class_="swatch", width=11, height=11, aria_hidden="true")
