"""A real browser, headless and without any network, that is shown one file."""

from __future__ import annotations

import re
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import List, NamedTuple, Set, Tuple

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--enable-logging=stderr"),
)
_DARK = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
_ITS_OWN = re.compile(r"https?://[\w.]*\.(googleapis|google)\.com/")
"""What Chromium asks for by itself, whatever it is told; it does not get out."""


class Shown(NamedTuple):
    """What came of showing a page."""

    out: str
    console: List[str]
    """What the page, or the browser about it, had to say to developers."""
    requests: Set[str]
    """What it wanted to load from a network."""


def dom(page: Path) -> Shown:
    """The document as the browser understood it."""
    return _run(page, "--dump-dom")


def screenshot(page: Path, out: Path, *, dark: bool, size: Tuple[int, int]) -> Shown:
    """A picture of its beginning, as PNG."""
    scheme = _DARK if dark else ()
    window = f"--window-size={size[0]},{size[1]}"
    return _run(page, f"--screenshot={out}", window, *scheme)


def printed(page: Path, out: Path) -> Shown:
    """The page as it is printed, as PDF."""
    return _run(page, f"--print-to-pdf={out}", "--no-pdf-header-footer")


def _run(page: Path, *flags: str) -> Shown:
    with tempfile.TemporaryDirectory(prefix="browser-") as place:
        log = Path(place, "net.json")
        places = (f"--user-data-dir={place}/profile", f"--log-net-log={log}")
        done = subprocess.run(
            ["unshare", "--net", "chromium", *_FLAGS, *places, *flags, page.as_uri()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=True,
        )
        urls = set(re.findall(r'"url":"(https?:[^"]*)', log.read_text(errors="replace")))
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Shown(done.stdout, console, {url for url in urls if not _ITS_OWN.match(url)})


class Picture(NamedTuple):
    """A PNG's rows of red, green and blue."""

    width: int
    rows: List[bytes]

    def colour(self, x: int, y: int) -> str:
        """As CSS writes it."""
        return "#" + self.rows[y][3 * x : 3 * x + 3].hex()

    def colours(self) -> Set[str]:
        """All that there are."""
        return {self.colour(x, y) for y in range(0, len(self.rows), 2) for x in range(self.width)}


def picture(path: Path) -> Picture:
    """Read a PNG of 8 bits for each of red, green, blue and perhaps transparency."""
    data = path.read_bytes()
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert data[24] == 8
    depth = {2: 3, 6: 4}[data[25]]
    packed, at = b"", 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += length + 12
    raw, stride = zlib.decompress(packed), width * depth
    rows: List[bytes] = []
    before = bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        before = _unfiltered(raw[start], raw[start + 1 : start + 1 + stride], before, depth)
        rows.append(bytes(b for n, b in enumerate(before) if n % depth < 3))
    return Picture(width, rows)


def _unfiltered(kind: int, line: bytes, above: bytearray, depth: int) -> bytearray:
    """A row of a PNG (W3C PNG specification, 9.2)."""
    row = bytearray(line)
    for n in range(len(row)):
        left = row[n - depth] if n >= depth else 0
        corner = above[n - depth] if n >= depth else 0
        row[n] = (row[n] + _predicted(kind, left, above[n], corner)) & 255
    return row


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    if kind == 4:
        guess = left + above - corner
        return min((left, above, corner), key=lambda value: abs(guess - value))
    return (0, left, above, (left + above) // 2)[kind]
