"""HTML and SVG elements as values; whatever is not markup already is escaped.

Figures are ``<data>`` elements that carry the plain number beside what people read.
"""

from __future__ import annotations

import html
from typing import Iterable, List, Sequence, Union

from ovl1.formats import readable

VOID = frozenset({"meta", "rect", "line", "path"})


class Markup(str):
    """Text that goes into the page as it is."""

    __slots__ = ()


Content = Union[str, Markup]


def safe(content: Content) -> Markup:
    """Markup as it is; any other text with all that could act in it escaped."""
    if isinstance(content, Markup):
        return content
    return Markup(html.escape(readable.escaped(content), quote=True))


def joined(content: Iterable[Content]) -> Markup:
    """One after the other."""
    return Markup("".join(map(safe, content)))


def element(tag: str, *content: Content, **attributes: object) -> Markup:
    """An element.

    Args:
        attributes: ``class_`` stands for ``class``, and ``_`` for ``-``; those that are None or
            false are left out, those that are true have no value.
    """
    opened = "".join(
        _attribute(name.rstrip("_").replace("_", "-"), value)
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in VOID:
        return Markup(f"<{tag}{opened}/>")
    return Markup(f"<{tag}{opened}>{joined(content)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    return f" {name}" if value is True else f' {name}="{safe(str(value))}"'


def grouped(number: int) -> str:
    """A number with its digits in groups of three."""
    return f"{number:,}"


def figure(number: int) -> Markup:
    """A count."""
    return element("data", grouped(number), value=number)


def size(number: int) -> Markup:
    """Bytes."""
    return element("data", readable.human_size(number), value=number)


def name(text: str) -> Markup:
    """A name that an image or somebody else chose; its direction stays its own."""
    return element("bdi", text, class_="name")


def short(identity: str) -> Markup:
    """An id, as Docker shortens it."""
    return element("code", identity.replace("sha256:", "")[:12])


def sentence(*content: Content, **attributes: object) -> Markup:
    """A paragraph."""
    return element("p", *content, **attributes)


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> Markup:
    """A table whose first cell of each row names it.

    Args:
        columns: those that begin with ``>`` hold figures.
    """
    right = [column.startswith(">") for column in columns]
    head = [
        element("th", column.lstrip(">"), scope="col", class_="figure" if figures else None)
        for column, figures in zip(columns, right)
    ]
    body: List[Markup] = []
    for first, *others in rows:
        cells = [
            element("td", cell, class_="figure" if figures else None)
            for cell, figures in zip(others, right[1:])
        ]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    # Wide tables scroll by themselves, which the keyboard must be able to do, too.
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
