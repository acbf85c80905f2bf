"""The page in a real browser: what it shows, looks like, prints, and wants from the network."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import pytest

from ovl1.formats.readable import escaped, human_size
from tests.support import browser
from tests.support.child import command, in_child
from tests.support.sources import ROOT
from tests.support.store_builder import StoreBuilder, real_store

pytestmark = pytest.mark.needs("root", "chromium")

HOSTILE = [
    "<script>alert(1)<",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "' onmouseover='alert(4)",
    "--><style>*{display:none}<",
    "</bdi></table></svg><h1>",
    "&lt;&#60;&amp;",
    "\u202egpj.exe\u2066",
    "line\nbreak\ttab\x1b[31m",
    "\udcff\udcfe not UTF-8",
    "]]><![CDATA[",
    "${x}{{y}}%s",
    "\u05e2\u05d1\u05e8\u05d9\u05ea 123",
]


class Made(NamedTuple):
    """A page, and the JSON of the same count."""

    page: Path
    told: Dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("page")
    data_root = place / "docker"
    hostile_store(data_root)
    return counted(data_root, place / "page.html", "--overlay2", "--bytes")


def hostile_store(data_root: Path) -> None:
    builder: StoreBuilder = real_store(data_root)
    names = {f"srv/{name.replace('/', '!')}/x/y": b"" for name in HOSTILE}
    top = builder.layer(names)
    image = builder.image(top, f"{HOSTILE[0]}:1", f"{HOSTILE[2]}:{HOSTILE[4]}")
    builder.container(image, top, HOSTILE[1])
    builder.container(image, top, HOSTILE[9])
    (data_root / HOSTILE[5].replace("/", "!")).mkdir()


def counted(data_root: Path, page: Path, *options: str) -> Made:
    arguments = ("-q", "inodes", "report", "--json", "--html", str(page), *options)
    ended = in_child(command(data_root, *arguments))
    assert ended.code == 0, ended.err
    return Made(page, json.loads(ended.out))


class Document(html.parser.HTMLParser):
    """The elements, attributes and texts of a document."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Set[str] = set()
        self.attributes: Set[Tuple[str, str]] = set()
        self.data: List[Tuple[str, str]] = []
        self.texts: List[str] = []
        self._open: List[str] = []
        self._value: Optional[str] = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.add(tag)
        self.attributes.update((name, value or "") for name, value in attrs)
        if tag not in self.VOID:
            self._open.append(tag)
        self._value = dict(attrs).get("value") if tag == "data" else None

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open or "time" in self._open:
            return
        if self._open and self._open[-1] == "data" and self._value is not None:
            self.data.append((self._value, data))
        elif data.strip():
            self.texts.append(data)


def scalars(value: Any) -> Iterator[Any]:
    """Everything in a JSON value that is no container, and its keys."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from scalars(below)
    elif isinstance(value, list):
        for below in value:
            yield from scalars(below)
    else:
        yield value


def unexplained(document: Document, told: Dict[str, Any]) -> List[str]:
    """Every figure that is not in the JSON, with what is written beside it."""
    known = list(scalars(told))
    numbers = {value for value in known if isinstance(value, int)}
    names = {escaped(value) for value in known if isinstance(value, str) and value}
    shorts = {name.replace("sha256:", "")[:12] for name in names if len(name) >= 64}
    words = sorted(names | shorts | {"overlay2", "ovl1", "UTF-8"}, key=len, reverse=True)
    inner = {part for name in names if "/" in name for part in name.split("/")}
    inner |= {"/".join(name.split("/")[n:]) for name in names for n in range(name.count("/"))}
    pattern = re.compile("|".join(map(re.escape, [*words, *sorted(inner, key=len, reverse=True)])))
    found = []
    for value, text in document.data:
        shown = {f"{int(value):,}", human_size(int(value))}
        if int(value) not in numbers or text not in shown:
            found.append(f"{value} shown as {text}")
    for text in document.texts:
        left = "" if is_cut(text, inner) else pattern.sub("", text)
        left = text if re.fullmatch(r"[\d,]+( inodes| shared names)?", text) else left
        figures = [figure.replace(",", "") for figure in re.findall(r"\d[\d,]*", left)]
        found += [f"{figure} in {text!r}" for figure in figures if int(figure) not in numbers]
    return found


def is_cut(text: str, names: Set[str]) -> bool:
    """Whether it is the beginning of a name, for which there was no room."""
    return text.endswith("\u2026") and any(name.startswith(text[:-1]) for name in names)


@pytest.fixture(scope="module")
def shown(made: Made) -> browser.Shown:
    return browser.dom(made.page)


def test_every_figure_is_in_the_json(made: Made, shown: browser.Shown) -> None:
    document = Document(shown.out)
    assert len(document.data) > 100
    assert unexplained(document, made.told) == []
    # It can tell: each figure of another report would be a finding.
    assert unexplained(document, {**made.told, "layers": [], "images": [], "kinds": {}})


def test_the_main_figures_are_shown(made: Made, shown: browser.Shown) -> None:
    told = made.told
    values = {int(value) for value, _ in Document(shown.out).data}
    assert told["total_as_overlay2"] is not None
    assert {told["total"], told["total_as_overlay2"], told["bytes"]} <= values
    for each in (*told["layers"], *told["images"], *told["containers"], *told["paths"]):
        assert each["inodes"] in values
    for system in told["file_systems"]:
        assert {system["used"], system["free"], system["elsewhere"]} <= values


def test_the_browser_loads_and_runs_nothing(shown: browser.Shown) -> None:
    assert shown.console == []
    assert shown.requests == set()
    document = Document(shown.out)
    assert not {"script", "img", "link", "iframe", "object", "embed", "form"} & document.tags
    for name, _ in document.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "href", "style", "action", "srcset", "data", "xlink:href"}
    style = (ROOT / "ovl1/inodes/page/style.css").read_text()
    assert not re.search(r"url\(|@import|expression|</", style)


def test_the_browser_would_tell(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<script>console.error('planted')</script><img src='http://example.com/planted.png'>"
    )
    found = browser.dom(page)
    assert any("planted" in line for line in found.console)
    assert found.requests == {"http://example.com/planted.png"}


def test_a_script_that_got_in_would_not_run(made: Made, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    planted = "<script>document.title='ran'</script><img src='http://example.com/x'></body>"
    page.write_text(made.page.read_text().replace("</body>", planted))
    found = browser.dom(page)
    assert "<title>ran" not in found.out
    assert len(found.console) == 2
    assert found.requests == set()


def test_hostile_names_are_shown_and_do_nothing(shown: browser.Shown) -> None:
    document = Document(shown.out)
    text = "\n".join(document.texts)
    for name in HOSTILE:
        assert escaped(name.replace("/", "!")) in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0e-\x1f]", shown.out)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_drawn(made: Made, tmp_path: Path, dark: bool) -> None:
    out = tmp_path / "page.png"
    found = browser.screenshot(made.page, out, dark=dark, size=(480, 760))
    assert found.console == []
    drawn = browser.picture(out)
    assert (drawn.width, len(drawn.rows)) == (480, 760)
    colours = palette(dark=dark)
    assert drawn.colour(2, 2) == colours["surface"]
    wanted = ("ink", "muted", "directories", "specials", "line", "free")
    assert {colours[name] for name in wanted} <= drawn.colours()


def palette(*, dark: bool) -> Dict[str, str]:
    style = (ROOT / "ovl1/inodes/page/style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[1 if dark else 0]))


def test_it_can_be_printed(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "page.pdf"
    browser.printed(made.page, out)
    data = out.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 2 <= pages <= 8
