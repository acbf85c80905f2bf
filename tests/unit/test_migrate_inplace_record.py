"""Records: what is written is read again, to the byte; what is torn is not believed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.errors import BrokenStore
from ovl1.linux import durable
from ovl1.migrate.inplace import items as kinds
from ovl1.migrate.inplace import record
from ovl1.migrate.inplace.items import Header, Item, Metadata
from ovl1.model import LayerId

LAYER, BELOW, LOWER = (LayerId(digit * 64) for digit in "abc")

HEADER = Header(
    layer_id=LAYER,
    tree="upper",
    below=((BELOW, "upper"), (LOWER, "root")),
    lowers=(BELOW, LOWER),
    has_children=True,
    had_work=False,
    times_ns=(1, 2**62),
    digest="d" * 64,
)

names = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name))
times = st.tuples(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
numbers = st.integers(0, 2**32 - 1)
attributes = st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.binary())
metadata = st.builds(Metadata, numbers, numbers, numbers, times, attributes)
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(kinds.Enter, names, st.booleans(), st.booleans(), attributes, times),
    st.builds(kinds.Gone, names, metadata),
    st.just(kinds.Leave()),
    st.builds(kinds.Keep, names),
    st.builds(kinds.Whiteout, names),
    st.builds(kinds.Separate, names, st.integers(0, 2**64 - 1), attributes),
    st.builds(kinds.Hidden, names, st.integers(0, 2**64 - 1), metadata),
    st.builds(kinds.Skip, names),
)

SOME: List[Item] = [
    kinds.Enter(b"", opaque=False, merges=True, private={}, times_ns=(0, 0)),
    kinds.Keep(b"not \xff UTF-8\n"),
    kinds.Whiteout(b"\xed\xb2\x80 \xed\xa0\x80"),
    kinds.Leave(),
]


@given(st.lists(items, max_size=20))
def test_what_is_written_is_read(written: List[Item]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / LAYER
        record.write(path, HEADER, written)
        read = record.read(path)
        assert read.header == HEADER
        assert list(read.items()) == written
        assert [type(item) for item in read.items()] == [type(item) for item in written]


def test_a_torn_record_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / LAYER
    record.write(path, HEADER, SOME)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenStore, match="cannot be used"):
            record.read(path)


def test_a_changed_record_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / LAYER
    record.write(path, HEADER, SOME)
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        with pytest.raises(BrokenStore, match="cannot be used"):
            record.read(path)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LAYER
    monkeypatch.setattr(record, "VERSION", record.VERSION + 1)
    record.write(path, HEADER, SOME)
    monkeypatch.undo()
    with pytest.raises(BrokenStore, match="another version"):
        record.read(path)


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> object:
        yield SOME[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        record.write(tmp_path / LAYER, HEADER, failing())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / LAYER
    durable.temporary(path).write_bytes(b"half a")
    record.write(path, HEADER, SOME)
    assert list(record.read(path).items()) == SOME
    assert list(tmp_path.iterdir()) == [path]
