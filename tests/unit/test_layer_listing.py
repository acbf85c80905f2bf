"""What a tar lists, as a tree, and how much memory a tar of many names takes."""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from typing import Callable, Iterator

import pytest

from ovl1.formats import tarsplit
from ovl1.formats.seen import Seen
from ovl1.layer.listing import Listed, Listing
from ovl1.sorter import Sorter

NAMES = 8_000
PER_DIRECTORY = 20


def test_what_is_said_of_a_path_adds_up() -> None:
    names = [b"d/f", b"d/.wh.f", b"d", b"e/.wh..wh..opq", b".wh.e", b"way/to/x", b"./", b"d/g/"]
    with Listing(names) as listing:
        assert listing.root.is_entry
        found = told(listing.root)
    assert found == {
        "d": "entry",
        "d/f": "entry whiteout",
        "d/g": "entry",
        "e": "opaque whiteout",
        "way": "",
        "way/to": "",
        "way/to/x": "entry",
    }


def test_a_file_that_is_a_directory_later_is_both() -> None:
    for names in ([b"a", b"a/b"], [b"a/b", b"a"]):
        with Listing(names) as listing:
            assert told(listing.root) == {"a": "entry", "a/b": "entry"}


def told(node: Listed, path: str = "") -> dict[str, str]:
    found = {}
    for name, child in node.children().items():
        marks = ("is_entry", "opaque", "whiteout")
        said = [mark.replace("is_", "") for mark in marks if getattr(child, mark)]
        found[path + name.decode()] = " ".join(said)
        found.update(told(child, f"{path}{name.decode()}/"))
    return dict(sorted(found.items()))


def test_names_of_which_one_begins_as_another() -> None:
    """Whatever byte follows, a directory's content comes before the next one."""
    names = [b"a", b"a/x", b"a\1/x", b"a.b/x", b"a/x/y", b"a1/x", b".wh.a1", b"a1x"]
    with Listing(reversed(names)) as listing:
        assert list(told(listing.root)) == [
            *("a", "a\1", "a\1/x", "a.b", "a.b/x", "a/x", "a/x/y", "a1", "a1/x", "a1x")
        ]


def test_directories_that_are_left_out() -> None:
    with Listing([b"a/b/c", b"d/e", b"d/f/g", b"h"]) as listing:
        top = listing.root.children()
        assert list(top) == [b"a", b"d", b"h"]
        below = top[b"d"].children()
        assert list(below) == [b"e", b"f"]
        assert top[b"h"].children() == {}


def test_a_name_that_comes_twice_is_seen() -> None:
    for again in (False, True):
        with Seen() as seen:
            for name in many(NAMES):
                seen.add(name)
            if again:
                seen.add(b"./" + next(many(NAMES)) + b"/")
            assert seen.has_twice() == again


def test_memory_for_a_tar_of_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not grow."""
    monkeypatch.setattr(Sorter.__init__, "__defaults__", (1 << 18,))
    for action in (read_split, walk_listing):
        few, more = held(action, NAMES), held(action, 2 * NAMES)
        assert more < few + NAMES, action


def read_split(number: int) -> Callable[[], int]:
    out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by who reads it
    with tarsplit.Writer(out) as writer:
        for name in many(number):
            writer.file(name, 0, b"")
    out.seek(0)

    def read() -> int:
        with out:
            return sum(1 for _ in tarsplit.read(out))

    return read


def walk_listing(number: int) -> Callable[[], int]:
    def walk() -> int:
        with Listing(many(number)) as listing:
            return walked(listing.root)

    return walk


def walked(node: Listed) -> int:
    return node.is_entry + sum(map(walked, node.children().values()))


def held(prepared: Callable[[int], Callable[[], int]], number: int) -> int:
    """Bytes, at most."""
    action = prepared(number)
    gc.collect()
    tracemalloc.start()
    try:
        assert action() == number
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def many(number: int) -> Iterator[bytes]:
    for at in range(number):
        yield b"usr/lib/part-%d/package-%d/some-file-%d" % (at // 400, at // PER_DIRECTORY, at)
