"""What names in a layer's tar mean."""

from __future__ import annotations

import pytest

from ovl1.errors import LayerError
from ovl1.formats.whiteouts import (
    AufsMetadata,
    Meaning,
    Opaque,
    Plain,
    Whiteout,
    classify,
    clean,
    components,
    shown,
)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        (b"./", Plain(())),
        (b"/", Plain(())),
        (b"", Plain(())),
        (b"./a//b/", Plain((b"a", b"b"))),
        (b"/etc/passwd", Plain((b"etc", b"passwd"))),
        (b"a/../b", Plain((b"b",))),
        (b"/../b", Plain((b"b",))),
        (b"..a/b..", Plain((b"..a", b"b.."))),
        (b"names/.wh", Plain((b"names", b".wh"))),
        (b"a/.wh.b/c", Plain((b"a", b".wh.b", b"c"))),
        (b"a/.wh.b", Whiteout((b"a", b"b"))),
        (b".wh.b/", Whiteout((b"b",))),
        (b".wh..b", Whiteout((b".b",))),
        (b".wh....", Whiteout((b"...",))),
        (b"a/.wh..wh.foo", Whiteout((b"a", b".wh.foo"))),
        (b".wh..wh..opq", Opaque(())),
        (b"./a/.wh..wh..opq", Opaque((b"a",))),
        (b".wh..wh.plnk/1.2", AufsMetadata((b".wh..wh.plnk", b"1.2"))),
        (b"./.wh..wh.aufs", AufsMetadata((b".wh..wh.aufs",))),
        (b".wh..wh..opq/x", AufsMetadata((b".wh..wh..opq", b"x"))),
    ],
)
def test_classify(name: bytes, meaning: Meaning) -> None:
    assert classify(name) == meaning


@pytest.mark.parametrize("name", [b".wh.", b"a/.wh.", b"a/.wh..", b"a/b/.wh...", b"./.wh.../"])
def test_whiteouts_of_nothing_are_refused(name: bytes) -> None:
    with pytest.raises(LayerError, match="whiteout of nothing"):
        classify(name)


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/../../b", b".wh.x/../../y"])
def test_escapes_are_refused(name: bytes) -> None:
    with pytest.raises(LayerError, match="leads out of it"):
        classify(name)


@pytest.mark.parametrize("name", [b"a\0b", b"a/" * 2048 + b"b", b"a" * 256])
def test_names_that_linux_cannot_have_are_refused(name: bytes) -> None:
    with pytest.raises(LayerError, match="cannot have"):
        components(name)


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        (b"", b"."),
        (b"abc/def/../ghi", b"abc/ghi"),
        (b"abc/../../../def", b"../../def"),
        (b"/../abc//", b"/abc"),
        (b"/", b"/"),
        (b"a/..", b"."),
    ],
)
def test_clean_is_that_of_go(name: bytes, cleaned: bytes) -> None:
    assert clean(name) == cleaned


def test_shown_escapes_what_a_terminal_could_misread() -> None:
    assert shown("a/\u00e9\x1b[".encode() + b"\xff") == r"'a/é\x1b[\udcff'"


def test_the_longest_name_can_be_hidden() -> None:
    longest = b"n" * 255
    assert classify(b"a/.wh." + longest) == Whiteout((b"a", longest))
    with pytest.raises(LayerError, match="cannot have"):
        classify(b"a/.wh." + longest + b"n")
    with pytest.raises(LayerError, match="cannot have"):
        classify(b".wh." + longest + b"/a")
