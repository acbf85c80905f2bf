"""The heaviest directory trees of all layers as areas within areas (a squarified treemap).

After Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000). Widths become percentages, heights
are CSS pixels, so that text keeps its size however wide the page is; what a cell says is told for
a page of `_WIDTH` pixels, and cut off in a narrower one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ovl1.formats import readable
from ovl1.inodes.heavy import PathUse
from ovl1.inodes.page.bars import KINDS, segments, share, told, tree_parts
from ovl1.inodes.page.markup import Markup, element, grouped

_WIDTH, _HEIGHT = 1000.0, 440.0
_HEAD = 19.0
"""Height of the line that names an area with others in it."""
_EDGE = 3.0
_SMALLEST = (64.0, 22.0)
"""An area that has others in it, or says something, is at least so wide and high."""
_LETTER = 7.4
"""How wide one is at most, on the average."""
_FEWEST = 3
"""Letters of a name that still say something."""
_STRIP = 4


class Box(NamedTuple):
    """A place, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class _Area:
    size: int
    use: Optional[PathUse]
    """None for all that is not told by itself."""
    inner: List[_Area] = field(default_factory=list)


def treemap(paths: Sequence[PathUse], whole: int) -> Markup:
    """The chart.

    Args:
        whole: inodes of all layers, of which the paths take a part.
    """
    cells = _filled(_Area(whole, None, _nested(paths)), Box(0, 0, _WIDTH, _HEIGHT), 0, "")
    return element(
        "svg",
        element("title", "The heaviest directory trees of all layers", id="treemap-title"),
        element("desc", "Areas are inodes; the table that follows says it.", id="treemap-desc"),
        *cells,
        class_="treemap",
        width="100%",
        height=int(_HEIGHT),
        role="img",
        aria_labelledby="treemap-title treemap-desc",
    )


def squarified(sizes: Sequence[float], box: Box) -> List[Box]:
    """Places for `sizes`, largest first, that fill `box`, each as square as can be."""
    scale = box.width * box.height / (sum(sizes) or 1)
    left, places = [size * scale for size in sizes], []
    while left:
        row = _row(left, min(box.width, box.height))
        laid, box = _laid(row, box)
        places += laid
        left = left[len(row) :]
    return places


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """As many of the first areas as make the worst of them squarer, along the side."""
    worst = float("inf")
    for number in range(1, len(areas) + 1):
        depth = sum(areas[:number]) / side if side else 0
        ratios = [_ratio(depth, area / depth if depth else 0) for area in areas[:number]]
        if max(ratios) > worst:
            return areas[: number - 1]
        worst = max(ratios)
    return areas


def _ratio(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return high / low if low else float("inf")


def _laid(row: Sequence[float], box: Box) -> Tuple[List[Box], Box]:
    """A row along the shorter side, and what is left of the box."""
    wide = box.width >= box.height
    side = box.height if wide else box.width
    depth = sum(row) / side if side else 0.0
    places, at = [], 0.0
    for area in row:
        length = area / depth if depth else 0.0
        places.append(
            Box(box.x, box.y + at, depth, length) if wide else Box(box.x + at, box.y, length, depth)
        )
        at += length
    if wide:
        return places, Box(box.x + depth, box.y, max(box.width - depth, 0), box.height)
    return places, Box(box.x, box.y + depth, box.width, max(box.height - depth, 0))


def _nested(paths: Sequence[PathUse]) -> List[_Area]:
    """The areas of the paths, those below another one's path within its area."""
    areas: Dict[str, _Area] = {}
    tops: List[_Area] = []
    for use in sorted(paths, key=lambda use: use.path.count("/")):
        area = areas[use.path] = _Area(use.inodes, use)
        above = use.path
        while "/" in above and above.rpartition("/")[0] not in areas:
            above = above.rpartition("/")[0]
        owner = areas.get(above.rpartition("/")[0])
        (owner.inner if owner is not None else tops).append(area)
    return tops


def _filled(area: _Area, box: Box, depth: int, above: str) -> Iterator[Markup]:
    """The cells of what is within an area."""
    inner = sorted(area.inner, key=lambda each: -each.size)
    rest = area.size - sum(each.size for each in inner)
    if rest > 0:
        inner.append(_Area(rest, None))
    for each, place in zip(inner, squarified([each.size for each in inner], box)):
        if each.use is None:
            yield _rest(place, depth)
            continue
        within = Box(
            place.x + _EDGE, place.y + _HEAD, place.width - 2 * _EDGE, place.height - _HEAD - _EDGE
        )
        has_room = within.width >= _SMALLEST[0] and within.height >= _SMALLEST[1]
        yield _cell(each.use, place, depth, above, is_leaf=not (each.inner and has_room))
        if each.inner and has_room:
            yield from _filled(each, within, depth + 1, each.use.path + "/")


def _cell(use: PathUse, place: Box, depth: int, above: str, *, is_leaf: bool) -> Markup:
    layers = "layer" if use.layers == 1 else "layers"
    inodes = f"{grouped(use.inodes)} inodes"
    parts = told(tree_parts(use.tree), KINDS)
    title = f"{use.path}: {inodes} in {grouped(use.layers)} {layers} ({parts})"
    label = use.path[len(above) :] if use.path.startswith(above) else use.path
    texts = _texts(label, grouped(use.inodes), place, is_leaf=is_leaf)
    strip: List[Markup] = []
    if is_leaf and place.height > 2 * _STRIP and place.width > 2 * _STRIP:
        strip = segments(tree_parts(use.tree), use.inodes, _STRIP, place.height - _STRIP - 1)
    most = max(tree_parts(use.tree), key=lambda part: part[1])[0]
    kind = f"is-{most}" if is_leaf else f"depth-{min(depth, 2)}"
    return _placed(place, kind, element("title", title), *texts, *strip)


def _texts(label: str, inodes: str, place: Box, *, is_leaf: bool) -> List[Markup]:
    """What fits into a cell: its name and figure in two lines or in one, its name, or nothing."""
    room = place.width - 10
    shorter = _shorter(readable.escaped(label), room)
    label = next((each for each in shorter if _length(each) <= room), "")
    if place.height < _SMALLEST[1] or not label:
        return []
    if is_leaf and place.height >= _SMALLEST[1] + 18 and _length(inodes) <= room:
        below = element("text", inodes, class_="count", x=6, y=30)
        return [element("text", label, class_="label", x=6, y=14), below]
    beside: List[Markup] = []
    if _length(label) + _length(inodes) + _LETTER <= room:
        beside = [element("tspan", inodes, class_="count", dx=7)]
    return [element("text", label, *beside, class_="label", x=6, y=14)]


def _shorter(path: str, room: float) -> Iterator[str]:
    """What may stand for a path, best first."""
    last = path.rpartition("/")[2]
    yield from (path, f"\u2026/{last}", last)
    letters = int(room / _LETTER) - 1
    if letters >= _FEWEST:
        yield f"{last[:letters]}\u2026"


def _length(text: str) -> float:
    return len(text) * _LETTER


def _rest(place: Box, depth: int) -> Markup:
    text = "everything else" if depth == 0 else "else"
    fits = place.height >= _SMALLEST[1] and _length(text) <= place.width - 10
    label = [element("text", text, class_="count", x=6, y=14)] if fits else []
    return _placed(place, "rest", element("title", "everything else"), *label)


def _placed(place: Box, kind: str, *content: Markup) -> Markup:
    # What is within a nested svg element is cut off at its edges.
    return element(
        "svg",
        element("rect", class_="ground", width="100%", height="100%"),
        element("rect", class_=f"cell {kind}", width="100%", height="100%"),
        *content,
        x=share(place.x, _WIDTH),
        y=f"{place.y:.1f}",
        width=share(place.width, _WIDTH),
        height=f"{place.height:.1f}",
    )
