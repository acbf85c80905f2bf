"""Streams that a process of its own makes ahead."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, BinaryIO, Callable, Iterator, List

import pytest

from ovl1.linux.pipeline import Ahead


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a descriptor or a child behind."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def writes(*chunks: bytes) -> Ahead[int]:
    def function(out: BinaryIO) -> int:
        return sum(out.write(chunk) for chunk in chunks)

    return Ahead(function)


def test_the_stream_and_the_result_arrive() -> None:
    big = os.urandom(1 << 20)
    with writes(big, b"", big, b"end") as ahead:
        assert ahead.stream.read() == big + big + b"end"
        assert ahead.result() == ahead.result() == (2 << 20) + 3


def test_the_result_does_not_wait_for_a_reader() -> None:
    with writes(bytes(8 << 20)) as ahead:
        assert ahead.stream.read(1) == b"\0"
        assert ahead.result() == 8 << 20


def test_it_runs_in_another_process() -> None:
    seen: List[int] = []

    def function(out: BinaryIO) -> int:
        seen.append(1)
        return os.getpid()

    with Ahead(function) as ahead:
        assert ahead.result() != os.getpid()
    assert seen == []


def fails(before: bytes) -> Ahead[None]:
    def function(out: BinaryIO) -> None:
        out.write(before)
        raise LookupError("the source ends early")

    return Ahead(function)


def test_its_error_is_raised_with_its_traceback() -> None:
    with fails(b"some") as ahead:
        assert ahead.stream.read() == b"some"
        with pytest.raises(LookupError, match="ends early") as caught:
            ahead.result()
    assert "in function" in str(caught.value.__cause__)


def read_and_raise(ahead: Ahead[Any], size: int, error: BaseException) -> None:
    """What a reader does who does not like what it has read."""
    with ahead:
        ahead.stream.read(size)
        raise error


def test_its_error_replaces_what_followed_from_it() -> None:
    with pytest.raises(LookupError) as caught:
        read_and_raise(fails(b"half"), 8, ValueError("cut short"))
    assert isinstance(caught.value.__context__, ValueError)


@pytest.mark.parametrize("ahead", [fails, writes])
@pytest.mark.parametrize("size", [8, 8 << 20])
def test_an_error_of_the_reader_stays_its_own(
    ahead: Callable[[bytes], Ahead[Any]], size: int
) -> None:
    with pytest.raises(ValueError, match="do not want"):
        read_and_raise(ahead(bytes(9 << 20)), size, ValueError("do not want this"))


def test_an_error_after_the_whole_of_a_good_stream_stays_its_own() -> None:
    with pytest.raises(ValueError, match="do not want"):
        read_and_raise(writes(b"all"), -1, ValueError("do not want this"))


def test_an_interrupt_is_not_replaced() -> None:
    with pytest.raises(KeyboardInterrupt):
        read_and_raise(fails(b""), -1, KeyboardInterrupt())


def test_leaving_early_ends_the_process_at_once() -> None:
    def function(out: BinaryIO) -> None:
        time.sleep(60)

    started = time.monotonic()
    with Ahead(function):
        pass
    assert time.monotonic() - started < 10


def test_who_is_killed_is_missed() -> None:
    def function(out: BinaryIO) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with Ahead(function) as ahead:
        assert ahead.stream.read() == b""
        with pytest.raises(ChildProcessError, match="killed"):
            ahead.result()


def test_an_error_that_cannot_be_sent_is_told_in_words() -> None:
    class Local(Exception):
        pass

    def function(out: BinaryIO) -> None:
        raise Local("only here")

    with Ahead(function) as ahead, pytest.raises(RuntimeError, match="only here"):
        ahead.result()
