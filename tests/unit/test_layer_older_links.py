"""Which hard links of a tar lead to a file that is not in it."""

from __future__ import annotations

from typing import Dict, List

import pytest

from ovl1.errors import LayerError
from ovl1.formats.tarheader import FILE, HARDLINK, SYMLINK, TarEntry
from ovl1.layer.older_links import older_links
from ovl1.tree.view import Parts


def link(name: bytes, target: bytes) -> TarEntry:
    return TarEntry(name, HARDLINK, linkname=target)


def found(entries: List[TarEntry]) -> Dict[Parts, Parts]:
    return older_links(lambda: entries)


def test_only_those_to_what_the_tar_does_not_hold() -> None:
    entries = [
        TarEntry(b"a", FILE),
        link(b"b", b"a"),
        link(b"c/d", b"./x/y"),
        TarEntry(b"s", SYMLINK),
    ]
    assert found(entries) == {(b"c", b"d"): (b"x", b"y")}


def test_a_link_to_such_a_link_leads_as_far() -> None:
    assert found([link(b"b", b"x"), link(b"a", b"b")]) == {(b"b",): (b"x",), (b"a",): (b"x",)}


def test_the_last_entry_of_a_name_counts() -> None:
    assert found([link(b"a", b"x"), TarEntry(b"a", FILE), link(b"b", b"a")]) == {}
    assert found([TarEntry(b"a", FILE), link(b"a", b"x")]) == {(b"a",): (b"x",)}
    assert found([link(b"a", b"a")]) == {}


def test_nothing_leads_out() -> None:
    with pytest.raises(LayerError):
        found([link(b"a", b"../../x")])
