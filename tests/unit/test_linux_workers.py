"""Forked workers: order, errors, Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import List

import pytest

from ovl1.errors import LayerError
from ovl1.linux.workers import in_parallel


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def late_if_early(item: int) -> int:
        time.sleep(0.002 * (20 - item))
        return item * item

    squares = list(in_parallel(late_if_early, range(20), workers=workers))
    assert squares == [item * item for item in range(20)]


def test_the_work_is_shared() -> None:
    def who(_item: int) -> int:
        time.sleep(0.02)
        return os.getpid()

    pids = set(in_parallel(who, range(8), workers=2))
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_whole_and_ends_the_rest(workers: int, tmp_path: Path) -> None:
    def work(item: int) -> int:
        if item == 1:
            raise LayerError("broken", details="here", resolution="mend it")
        time.sleep(0.05)
        (tmp_path / str(item)).touch()
        return item

    with pytest.raises(LayerError) as caught:
        list(in_parallel(work, range(50), workers=workers))
    error = caught.value
    assert (error.brief, error.details, error.resolution) == ("broken", "here", "mend it")
    assert len(list(tmp_path.iterdir())) < 10


def test_ctrl_c_ends_it_and_no_worker_is_left(tmp_path: Path) -> None:
    def work(item: int) -> int:
        (tmp_path / str(os.getpid())).touch()
        if item == 4:
            os.kill(os.getppid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return item

    got: List[int] = []
    with pytest.raises(KeyboardInterrupt):
        got.extend(in_parallel(work, range(200), workers=2))
    for worker in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker.name), 0)
