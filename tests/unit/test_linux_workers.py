"""Forked workers: order, sharing, errors, Ctrl-C, ends of all kinds."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import List, Tuple

import pytest

from ovl1.errors import LayerError
from ovl1.linux.workers import Share, in_parallel, in_teams, share_out
from tests.support.child import running


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


def test_ctrl_c_is_for_the_caller_alone() -> None:
    def work(item: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return item

    assert list(in_parallel(work, range(6), workers=2)) == list(range(6))


@pytest.mark.parametrize(("workers", "teams"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_all_of_a_team_do_what_the_team_gets(workers: int, teams: int) -> None:
    def work(item: int, team: int, _turn: int) -> Tuple[int, int, int]:
        time.sleep(0.001 * (item % 3))
        return item, team, os.getpid()

    found = list(in_teams(work, range(30), workers=workers, size=2))
    assert [{item for item, _, _ in said} for said in found] == [{item} for item in range(30)]
    members = {
        team: {pid for said in found for _, other, pid in said if other == team}
        for team in range(teams)
    }
    assert sum(map(len, members.values())) == workers
    for said in found:
        assert len({team for _, team, _ in said}) == 1
        assert {pid for _, _, pid in said} == members[said[0][1]]
        assert len(said) == len(members[said[0][1]])


def test_a_team_shares_in_another_way_when_one_is_behind(tmp_path: Path) -> None:
    """The one that was given everything has it no more when the others had to wait for it."""

    def work(item: int, _team: int, turn: int) -> Tuple[int, int]:
        with contextlib.suppress(FileExistsError):
            (tmp_path / str(turn)).symlink_to(str(os.getpid()))
        if os.readlink(tmp_path / str(turn)) == str(os.getpid()):
            time.sleep(0.05)
        return turn, os.getpid()

    found = list(in_teams(work, range(16), workers=2, size=2))
    turns = [said[0][0] for said in found]
    assert turns == [said[1][0] for said in found] == sorted(turns)
    assert len({os.readlink(path) for path in tmp_path.iterdir()}) == 2


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_error_in_a_team_ends_the_rest(workers: int, tmp_path: Path) -> None:
    def work(item: int, _team: int, _turn: int) -> int:
        if item == 1:
            raise LayerError("broken")
        time.sleep(0.02)
        (tmp_path / str(item)).touch()
        return item

    with pytest.raises(LayerError, match="broken"):
        list(in_teams(work, range(50), workers=workers, size=2))
    assert len(list(tmp_path.iterdir())) < 10


def test_ctrl_c_ends_teams_and_no_worker_is_left(tmp_path: Path) -> None:
    def work(item: int, _team: int, _turn: int) -> bytes:
        (tmp_path / str(os.getpid())).touch()
        if item == 4:
            os.kill(os.getppid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
        return bytes(3 << 20)  # more than a pipe holds

    with pytest.raises(KeyboardInterrupt):
        list(in_teams(work, range(200), workers=3, size=2))
    assert len(list(tmp_path.iterdir())) == 3
    for worker in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker.name), 0)


def test_a_killed_member_is_noticed_and_the_others_end(tmp_path: Path) -> None:
    def work(item: int, _team: int, _turn: int) -> int:
        (tmp_path / str(os.getpid())).touch()
        if item == 2 and len(list(tmp_path.glob("killed"))) == 0:
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return item

    with pytest.raises(ChildProcessError, match="killed"):
        list(in_teams(work, range(200), workers=4, size=2))
    (tmp_path / "killed").unlink()
    for worker in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker.name), 0)


def count_down(number: int, share: Share[int]) -> Tuple[int, List[int]]:
    """Everything up to `number`, half of what is left given away whenever it is wanted."""
    done, left = [], list(range(number))
    while left:
        if len(left) > 1 and share.wanted():
            share.give(len(left) // 2)
            del left[: len(left) // 2]
        done.append(left.pop())
        time.sleep(0.001)
    return os.getpid(), done


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_work_is_split_while_it_is_done(workers: int) -> None:
    results = list(share_out(count_down, 300, workers=workers))
    assert sum(len(done) for _, done in results) == 300
    assert len({pid for pid, _ in results}) == workers
    assert (os.getpid() in {pid for pid, _ in results}) == (workers == 1)


def test_what_is_given_may_be_large() -> None:
    def double(parts: List[bytes], share: Share[List[bytes]]) -> List[bytes]:
        while len(parts) > 1:
            if share.wanted():
                share.give([parts.pop()])
        return parts

    results = list(share_out(double, [bytes(1 << 20), b"x" * (1 << 20), b"z"], workers=3))
    assert sorted(map(len, (part for result in results for part in result))) == [
        1,
        1 << 20,
        1 << 20,
    ]


def test_an_error_stops_who_works_on_something_long() -> None:
    def work(number: int, share: Share[int]) -> int:
        if number:
            raise OSError(28, "No space left on device", "there")
        gave = False
        while True:
            if share.wanted() and not gave:
                share.give(1)
                gave = True
            time.sleep(0.001)

    with pytest.raises(OSError, match="No space left") as caught:
        list(share_out(work, 0, workers=2))
    assert (caught.value.errno, caught.value.filename) == (28, "there")
    assert "in work" in str(caught.value.__cause__)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_ctrl_c_stops_who_works_on_something_long() -> None:
    def work(_number: int, share: Share[int]) -> None:
        os.kill(os.getppid(), signal.SIGINT)
        while True:
            share.wanted()

    with pytest.raises(KeyboardInterrupt):
        list(share_out(work, 0, workers=2))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_killed_worker_is_noticed() -> None:
    def work(item: int) -> int:
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(ChildProcessError, match="killed"):
        list(in_parallel(work, range(10), workers=2))


def test_an_error_that_cannot_be_pickled_arrives_in_words() -> None:
    class Odd(Exception):
        """Known to nobody else."""

    def work(item: int) -> int:
        raise Odd("strange", item)

    with pytest.raises(RuntimeError, match=r"Odd.*strange"):
        list(in_parallel(work, range(4), workers=2))


def test_a_result_that_cannot_be_pickled_is_an_error() -> None:
    with pytest.raises(Exception, match="pickle"):
        list(in_parallel(lambda item: lambda: item, range(4), workers=2))


def test_large_results() -> None:
    sizes = [1 << 20, 0, 1 << 16, 5]
    assert [len(found) for found in in_parallel(bytes, sizes, workers=2)] == sizes


def test_threads_may_have_workers_of_their_own() -> None:
    found: List[List[int]] = []

    def run() -> None:
        found.append(list(in_parallel(lambda item: item + 1, range(50), workers=2)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(1, 51))] * 8


def test_workers_may_have_workers() -> None:
    def work(item: int) -> int:
        return sum(in_parallel(lambda number: number * item, range(10), workers=2))

    assert list(in_parallel(work, range(4), workers=2)) == [0, 45, 90, 135]


def test_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    list(in_parallel(str, range(10), workers=3))
    unfinished = in_parallel(str, range(10), workers=3)
    assert next(unfinished) == "0"
    unfinished.close()  # type: ignore[attr-defined]
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_workers_end_with_their_caller(tmp_path: Path) -> None:
    def work(item: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(60)

    with running(lambda: len(list(in_parallel(work, range(2), workers=2)))) as child:
        deadline = time.monotonic() + 10
        while len(os.listdir(tmp_path)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.signal(signal.SIGKILL)
        child.wait()
    for name in os.listdir(tmp_path):
        while Path("/proc", name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_the_caller_has_buffered_is_written_once(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        file.write("once")
        list(in_parallel(str, range(4), workers=2))
    assert (tmp_path / "file").read_text() == "once"
