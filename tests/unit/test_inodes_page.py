"""The page without a browser: its markup, the treemap's geometry, and stores of every kind."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.driver.cost import Cost
from ovl1.formats.readable import escaped
from ovl1.inodes.attribute import report
from ovl1.inodes.comparison import comparison, fewer_as_overlay2, together
from ovl1.inodes.heavy import PathUse
from ovl1.inodes.page.document import page
from ovl1.inodes.page.markup import element, figure, name
from ovl1.inodes.page.treemap import Box, squarified, treemap
from ovl1.inodes.report import Report
from ovl1.inodes.tally import Counts
from tests.support.sources import ROOT
from tests.support.store_builder import StoreBuilder, small_store

NOW = datetime(2020, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(small_store(tmp_path_factory.mktemp("docker")).open(), workers=1)


class Parsed(html.parser.HTMLParser):
    """Text and attributes of a piece of markup, which must nest well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: List[str] = []
        self.attributes: List[Tuple[str, Optional[str]]] = []
        self.text = ""
        self._open: List[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text() | st.text("<>&\"'\\/=- \udc80\u202e\x00"))
def test_whatever_text_stays_text(text: str) -> None:
    parsed = Parsed(element("p", text, name(text), title=text))
    assert parsed.tags == ["p", "bdi"]
    assert parsed.text == 2 * escaped(text)
    assert parsed.attributes == [("title", escaped(text)), ("class", "name")]


def test_markup_is_not_escaped_twice() -> None:
    assert element("p", figure(1234), " <", hidden=True, lang=None) == (
        '<p hidden><data value="1234">1,234</data> &lt;</p>'
    )


def test_the_page_nests_well_and_says_when(made: Report) -> None:
    document = page(made, NOW)
    assert document.startswith('<!DOCTYPE html>\n<html lang="en"><head>')
    parsed = Parsed(document.split("\n", 1)[1])
    assert ("datetime", "2020-02-03T04:05Z") in parsed.attributes
    assert "2020-02-03 04:05 UTC" in parsed.text
    ids = [value for key, value in parsed.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    labels = [value for key, value in parsed.attributes if key == "aria-labelledby"]
    for label in labels:
        assert set((label or "").split()) <= set(ids)


def test_each_picture_has_words_for_it(made: Report) -> None:
    for tag in re.findall(r"<svg [^>]*>", page(made, NOW)):
        is_part = "role=" not in tag and 'x="' in tag
        assert is_part or 'aria-hidden="true"' in tag or "aria-label" in tag


def test_a_store_of_every_kind_has_a_page(made: Report, tmp_path: Path) -> None:
    empty = report(StoreBuilder(tmp_path / "empty").open(), workers=1)
    second = report(small_store(tmp_path / "two", "overlay2").open(), workers=1)
    systems = tuple(dataclasses.replace(each, files=0) for each in made.file_systems)
    texts = {
        "does not count inodes": dataclasses.replace(made, file_systems=systems),
        "are of no one moment": dataclasses.replace(made, moving=True),
        "could not be read": dataclasses.replace(made, unreadable=("overlay/x", "volumes/<b>")),
        "--overlay2 --html FILE": dataclasses.replace(made, overlay2=None),
        "cannot be told: the reason": dataclasses.replace(
            made, overlay2=None, no_overlay2="the reason"
        ),
        "after migrating and purging": dataclasses.replace(made, overlay2=Cost()),
        "overlay2": second,
        "Where the inodes went": empty,
    }
    for text, each in texts.items():
        parsed = Parsed(page(each, NOW).split("\n", 1)[1])
        assert text in parsed.text


def test_the_comparison_adds_up(made: Report) -> None:
    layouts = comparison(made)
    assert layouts["overlay"].total == made.total
    assert layouts["overlay2"].total == made.total_as_overlay2
    assert layouts["overlay"].rest == layouts["overlay2"].rest
    assert fewer_as_overlay2(made) == layouts["overlay"].total - layouts["overlay2"].total
    assert together(made) == sum((share.tree for share in made.kinds), Counts())
    without = dataclasses.replace(made, overlay2=None)
    assert list(comparison(without)) == ["overlay"]
    assert fewer_as_overlay2(without) is None


sizes = st.lists(st.integers(1, 10**6), min_size=1, max_size=40)


@given(sizes, st.floats(1, 1000), st.floats(1, 1000))
def test_areas_fill_their_place_in_proportion(
    numbers: List[int], width: float, height: float
) -> None:
    numbers.sort(reverse=True)
    box = Box(0, 0, width, height)
    places = squarified(numbers, box)
    assert len(places) == len(numbers)
    for number, place in zip(numbers, places):
        expected = number / sum(numbers) * width * height
        assert place.width * place.height == pytest.approx(expected, rel=1e-6)
        assert place.x >= -1e-6
        assert place.y >= -1e-6
        assert place.x + place.width <= width * (1 + 1e-6)
        assert place.y + place.height <= height * (1 + 1e-6)
    for n, one in enumerate(places):
        assert all(apart(one, other) for other in places[n + 1 :])


def apart(one: Box, other: Box) -> bool:
    slack = 1e-6 * 1000
    return (
        one.x + one.width <= other.x + slack
        or other.x + other.width <= one.x + slack
        or one.y + one.height <= other.y + slack
        or other.y + other.height <= one.y + slack
    )


def test_equal_areas_are_about_square() -> None:
    for place in squarified([1] * 12, Box(0, 0, 400, 300)):
        assert place.width == pytest.approx(100)
        assert place.height == pytest.approx(100)


def test_paths_lie_within_what_they_lie_below() -> None:
    uses = [
        PathUse(path, 2, Counts(directories=number))
        for path, number in (("usr", 900), ("usr/share/doc", 500), ("usr/lib", 300), ("etc", 50))
    ]
    text = treemap(uses, 1000)
    titles = re.findall(r"<title>([^:<]*)", text)
    assert titles == [
        "usr", "usr/share/doc", "usr/lib", "everything else",
        "etc", "everything else",
    ]  # fmt: skip
    # What is below another path is named from there.
    assert re.findall(r'class="label"[^>]*>([^<]*)', text) == ["usr", "share/doc", "lib", "etc"]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def palettes() -> List[Dict[str, str]]:
    style = (ROOT / "ovl1/inodes/page/style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]


@pytest.mark.parametrize("colours", palettes(), ids=["light", "dark"])
def test_contrasts_are_enough_to_read(colours: Dict[str, str]) -> None:
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for what is drawn (1.4.11)."""
    for ground in ("surface", "raised", "area-0", "area-1", "area-2"):
        assert contrast(colours["ink"], colours[ground]) >= 7
        assert contrast(colours["muted"], colours[ground]) >= 4.5
    assert contrast(colours["warning"], colours["raised"]) >= 4.5
    for kind in ("directories", "symlinks", "files", "specials", "driver", "shared"):
        assert contrast(colours[kind], colours["surface"]) >= 3
