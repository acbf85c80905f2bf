"""More byte strings than are to be in memory, in order."""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from pathlib import Path
from typing import Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.sorter import Sorter

FEW, MANY = 20_000, 60_000
MOST = 1 << 18


@given(st.lists(st.binary(max_size=100)), st.integers(0, 1000))
def test_all_comes_in_order(items: List[bytes], most: int) -> None:
    with Sorter(most) as sorter:
        for item in items:
            sorter.add(item)
        assert list(sorter.sorted()) == sorted(items)


def test_long_strings() -> None:
    items = [bytes([byte]) * 300_000 for byte in (3, 1, 2)]
    with Sorter(1) as sorter:
        for item in items:
            sorter.add(item)
        assert list(sorter.sorted()) == sorted(items)


def test_memory_does_not_grow() -> None:
    peak(FEW)  # What is made once only.
    assert peak(MANY) < peak(FEW) + MOST // 4


def peak(number: int) -> int:
    """Bytes in memory, at most."""
    gc.collect()
    tracemalloc.start()
    try:
        with Sorter(MOST) as sorter:
            for item in scattered(number):
                sorter.add(item)
            assert sum(1 for _ in sorter.sorted()) == number
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def scattered(number: int) -> Iterator[bytes]:
    for index in range(number):
        yield b"name-%d" % (index * 7919 % number)


def test_without_a_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost; it takes memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with Sorter(MOST) as sorter:
        for item in scattered(FEW):
            sorter.add(item)
        assert list(sorter.sorted()) == sorted(scattered(FEW))


@pytest.mark.needs("root", "loop", "mkfs.ext4")
def test_on_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been put away is read, and what could not be is in memory still."""
    from ovl1.linux.loopback import loop_file_system

    with loop_file_system("ext4", tmp_path, 4 << 20) as small:
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        with Sorter(MOST) as sorter:
            items = [b"%0300d" % (index * 7919 % FEW) for index in range(FEW)]
            for item in items:
                sorter.add(item)
            assert list(sorter.sorted()) == sorted(items)
