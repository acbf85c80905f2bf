"""A tar as a stream: contents, skipping, truncation, and files made of chunks."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest

from ovl1.errors import LayerError
from ovl1.formats import tarstream
from tests.support.layers import entry, make_tar


class Dribble(io.RawIOBase):
    """Gives a byte or a few at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 7))


ENTRIES = [entry("a", data=b"1" * 600), entry("b"), entry("c", data=b"3")]


def test_contents_one_after_the_other() -> None:
    data = make_tar(ENTRIES).read()
    for file in (io.BytesIO(data), cast(BinaryIO, Dribble(data))):
        found = [(each.name, b"".join(content)) for each, content in tarstream.entries(file)]
        assert found == [(b"a", b"1" * 600), (b"b", b""), (b"c", b"3")]


def test_contents_may_be_left_unread() -> None:
    names = []
    for each, content in tarstream.entries(make_tar(ENTRIES)):
        content.read(5)
        names.append(each.name)
    assert names == [b"a", b"b", b"c"]


def test_a_cut_archive_is_noticed_where_it_is_cut() -> None:
    data = make_tar(ENTRIES).read()
    with pytest.raises(LayerError, match="412 bytes of a file are missing"):
        list(tarstream.entries(io.BytesIO(data[:700])))
    with pytest.raises(LayerError, match="bad tar header at byte 1536"):
        list(tarstream.entries(io.BytesIO(data[:1700])))


def test_chunks_as_a_file() -> None:
    file = tarstream.as_file([b"ab", b"", b"cdefg", b"h"])
    assert file.read(3) == b"abc"
    assert file.read() == b"defgh"
