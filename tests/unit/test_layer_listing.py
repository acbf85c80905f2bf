"""What a tar lists, as a tree, and how much memory a tar of many names takes."""

from __future__ import annotations

import gc
import io
import tracemalloc
from typing import Callable, Iterator

from ovl1.formats import tarsplit
from ovl1.formats.seen import Seen
from ovl1.layer.listing import Listed, listing

NAMES = 20_000
PER_DIRECTORY = 20


def test_what_is_said_of_a_path_adds_up() -> None:
    names = [b"d/f", b"d/.wh.f", b"d", b"e/.wh..wh..opq", b".wh.e", b"way/to/x", b"./", b"d/g/"]
    root = listing(names)
    assert root.is_entry
    assert told(root) == {
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
        assert told(listing(names)) == {"a": "entry", "a/b": "entry"}


def told(node: Listed, path: str = "") -> dict[str, str]:
    found = {}
    for name, child in node.children().items():
        marks = ("is_entry", "opaque", "whiteout")
        said = [mark.replace("is_", "") for mark in marks if getattr(child, mark)]
        found[path + name.decode()] = " ".join(said)
        found.update(told(child, f"{path}{name.decode()}/"))
    return dict(sorted(found.items()))


def test_a_name_that_comes_twice_is_seen() -> None:
    seen = Seen()
    for name in many():
        seen.add(name)
    assert not seen.has_twice
    seen.add(b"./" + next(many()) + b"/")
    assert seen.has_twice


def test_memory_for_a_tar_of_many_names() -> None:
    out = io.BytesIO()
    with tarsplit.Writer(out) as writer:
        for name in many():
            writer.file(name, 0, b"")
    list(tarsplit.read(io.BytesIO(out.getvalue())))  # What is made once only.
    split = io.BytesIO(out.getvalue())
    assert held(lambda: sum(1 for _ in tarsplit.read(split))) < 40 * NAMES
    assert held(lambda: listing(many())) < 80 * NAMES


def held(action: Callable[[], object]) -> int:
    """Bytes, at most."""
    gc.collect()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def many() -> Iterator[bytes]:
    for number in range(NAMES):
        yield b"usr/lib/package-%d/some-file-%d" % (number // PER_DIRECTORY, number)
