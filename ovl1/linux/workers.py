"""The same work on many items, on all processors: forked workers that share what is open and read.

Python runs one thread of its own code at a time, so threads would not help. Workers are forked,
not spawned: they have the caller's objects without a copy, but what they change in memory stays
theirs. Items are handed out one by one, in order, so put long ones first.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable, Iterator, List, Optional, Sequence, TypeVar

from ovl1.linux import libc

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: Optional[Callable[[int], Any]] = None
"""What the workers of this process do with an item's number; they have it from the fork."""


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: Optional[int] = None
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of the items.

    Ctrl-C is for the caller alone: the items that workers are busy with are finished, no new ones
    are begun, then ``KeyboardInterrupt`` goes on. An exception in a worker does the same.

    Args:
        function: its results and exceptions must be picklable.
        workers: how many processes; by default one for each processor this process may use.
    """
    number = min(workers or len(os.sched_getaffinity(0)), len(items))
    if number < 2:
        yield from map(function, items)
        return
    executor = ProcessPoolExecutor(
        number,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin,
        initargs=(lambda index: function(items[index]), os.getpid()),
    )
    with executor:
        futures: List[Any] = [executor.submit(_do, index) for index in range(len(items))]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _begin(work: Callable[[int], Any], parent: int) -> None:
    global _work  # noqa: PLW0603 - the only way into a worker that needs no pickling
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Else a caller that is killed leaves them waiting for work, with its locks, for ever.
    libc.die_with_parent()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _do(index: int) -> Any:
    assert _work is not None
    return _work(index)
