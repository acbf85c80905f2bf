"""Work on all processors: forked workers that share what is open and read.

Python runs one thread of its own code at a time, so threads would not help. Workers are forked,
not spawned: they have the caller's objects without a copy, but what they change in memory stays
theirs; only results, errors and parts of work go through pipes, pickled.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from ovl1.closing import Closing
from ovl1.linux.forked import await_end, fork, portable, receive, reraise, send, widen

Item = TypeVar("Item")
Result = TypeVar("Result")

_DONE, _GIVEN, _FAILED = "done", "given", "failed"

_AHEAD = 2
"""How many items a member of a team is told at a time, or is too far ahead of another one."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def sharers() -> int:
    """How many processes to share out work of the file system among.

    One for each processor that this process may use, but no more than four: such work is over in
    less than a second, in which all must be forked, and its processes wait for each other.
    """
    return min(processors(), 4)


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: Optional[int] = None
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of the items.

    They are handed out one by one, in order, so put long ones first. Ctrl-C is for the caller
    alone: the items that workers are busy with are finished, no new ones are begun, then
    ``KeyboardInterrupt`` goes on. An exception in a worker does the same.

    Args:
        function: its results and exceptions must be picklable.
        workers: how many processes; by default one for each processor this process may use.
    """
    number = min(workers or processors(), len(items))
    if number < 2:
        yield from map(function, items)
        return
    ready: Dict[int, Result] = {}
    wanted = 0
    with _Crew(number, lambda index, _: (index, function(items[index]))) as crew:
        for index, result in crew.results(range(len(items))):
            ready[index] = result
            while wanted in ready:
                yield ready.pop(wanted)
                wanted += 1


def in_teams(
    function: Callable[[Item, int, int], Result], items: Sequence[Item], *, workers: int, size: int
) -> Iterator[List[Result]]:
    """Yield what the members of a team make of each item, in the order of the items.

    All members do each item that their team gets: how they share it, `function` must know. A team
    gets its next item when the first member is free. Ctrl-C and exceptions: as `in_parallel`.

    Args:
        function: gets an item, the number of the team, from 0 on, and one that is another than
            for the team's last item when it is time to share in another way: a member was two
            items ahead. Its results and exceptions must be picklable.
        workers: how many processes there are in all teams.
        size: how many are a team; the last one may be smaller.
    """
    if workers < 2:
        for item in items:
            yield [function(item, 0, 0)]
        return
    with _Crew(workers, lambda order, _: function(items[order[0]], *order[1:])) as crew:
        yield from crew.of_teams(len(items), size)


class Share(Generic[Item]):
    """How work that is being done can be split: this one is for who works alone."""

    def wanted(self) -> bool:
        """Whether a worker is idle. If so, a part must be given to it; ask only if there is one."""
        return False

    def give(self, part: Item) -> None:
        """Let another worker do `part`."""
        raise NotImplementedError


def share_out(
    function: Callable[[Item, Share[Item]], Result], work: Item, *, workers: Optional[int] = None
) -> Iterator[Result]:
    """Yield the result of `function(work, share)`, and of each part that was given away meanwhile.

    In no order. After Ctrl-C or an exception in a worker the others stop when they next ask
    whether a part is wanted.

    Args:
        function: its results, exceptions and the parts it gives away must be picklable.
        workers: how many processes; by default `sharers()`.
    """
    number = workers or sharers()
    if number < 2:
        yield function(work, Share())
        return
    with _Crew(number, function) as crew:
        yield from crew.results([work])


class _Worker(NamedTuple):
    pid: int
    orders: int
    """Where items are written to; nothing, as an item, is its end."""
    answers: int


class _Team:
    """Workers that are all told the same items."""

    def __init__(self, number: int, members: Sequence[_Worker]) -> None:
        self._items: List[Tuple[int, int, int]] = []
        self._number, self._shared = number, 0
        self._orders = {member.answers: member.orders for member in members}
        self._told = dict.fromkeys(self._orders, 0)
        self._done = dict.fromkeys(self._orders, 0)

    def tell(self, fd: int, waiting: Deque[int], *, ahead: bool) -> None:
        """Tell a member what to do next, and then, so that it need not wait for us.

        Args:
            ahead: whether the team takes an item before it has begun with the last one.
        """
        while self._told[fd] - self._done[fd] < _AHEAD:
            if self._told[fd] == len(self._items):
                if not waiting or not (ahead or self._told[fd] == self._done[fd]):
                    return
                self._shared += self._done[fd] - min(self._done.values()) >= _AHEAD
                self._items.append((waiting.popleft(), self._number, self._shared))
            send(self._orders[fd], (self._items[self._told[fd]],))
            self._told[fd] += 1

    def answered(self, fd: int) -> int:
        """Note that a member has answered; for which item."""
        self._done[fd] += 1
        return self._items[self._done[fd] - 1][0]

    def __len__(self) -> int:
        return len(self._orders)


class _Stopped(Exception):
    """Ends work of which nobody wants the result any more."""


class _Crew(Closing):
    """Workers that wait for items; at the end they are told to stop, and waited for."""

    def __init__(self, number: int, function: Callable[[Any, Share[Any]], Any]) -> None:
        self._function = function
        self._workers: List[_Worker] = []
        self._wanted, self._wants = os.pipe()
        """A byte in this pipe stands for an idle worker; who takes it gives a part away."""
        os.set_blocking(self._wanted, False)
        try:
            for _ in range(number):
                self._hire()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let everybody finish what they are at, and wait for their end; idempotent."""
        workers, self._workers = self._workers, []
        for worker in workers:
            with contextlib.suppress(BrokenPipeError):
                send(worker.orders, None)
            os.close(worker.orders)
            os.close(worker.answers)
        for worker in workers:
            await_end(worker.pid)
        for fd in (self._wanted, self._wants):
            if fd >= 0:
                os.close(fd)
        self._wanted = self._wants = -1

    def results(self, items: Iterable[Any]) -> Iterator[Any]:
        """What comes of the items, and of the parts that workers give away, as it comes."""
        waiting: Deque[Any] = deque(items)
        idle = list(self._workers)
        busy: Dict[int, _Worker] = {}
        asked = 0
        poll = select.poll()
        for worker in self._workers:
            poll.register(worker.answers, select.POLLIN)
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop()
                send(worker.orders, (waiting.popleft(),))
                busy[worker.answers] = worker
            if asked < len(idle):
                os.write(self._wants, bytes(len(idle) - asked))
                asked = len(idle)
            for fd, _ in poll.poll():
                kind, value = _answer(fd)
                if kind == _GIVEN:
                    waiting.append(value)
                    asked -= 1
                else:
                    idle.append(busy.pop(fd))
                    yield value

    def of_teams(self, number: int, size: int) -> Iterator[List[Any]]:
        """What the members of a team say to each of the items, which have numbers from 0 on."""
        waiting, wanted = deque(range(number)), 0
        said: Dict[int, List[Any]] = {}
        ready: Dict[int, List[Any]] = {}
        groups = [self._workers[at : at + size] for at in range(0, len(self._workers), size)]
        teams: Dict[int, _Team] = {}
        poll = select.poll()
        for index, group in enumerate(groups):
            teams.update(dict.fromkeys((each.answers for each in group), _Team(index, group)))
        for fd, team in teams.items():
            poll.register(fd, select.POLLIN)
            team.tell(fd, waiting, ahead=len(groups) == 1)
        while wanted < number:
            for fd, _ in poll.poll():
                _, value = _answer(fd)
                team = teams[fd]
                item = team.answered(fd)
                said.setdefault(item, []).append(value)
                if len(said[item]) == len(team):
                    ready[item] = said.pop(item)
                team.tell(fd, waiting, ahead=len(groups) == 1)
            while wanted in ready:
                yield ready.pop(wanted)
                wanted += 1

    def _hire(self) -> None:
        orders, answers = os.pipe(), os.pipe()
        widen(answers[1])
        ours = (orders[1], answers[0], *(fd for other in self._workers for fd in other[1:]))
        pid = fork(lambda: self._work(orders[0], answers[1]), close=ours)
        self._workers.append(_Worker(pid, orders[1], answers[0]))
        os.close(orders[0])
        os.close(answers[1])

    def _work(self, orders: int, answers: int) -> None:
        share = _Shared(self._wanted, orders, answers)
        while True:
            order = receive(orders)
            if order is None:
                return
            try:
                answer = _DONE, self._function(order[0], share)
                send(answers, answer)
            except _Stopped:
                return
            except BaseException as err:  # noqa: BLE001 - the caller decides about all of them
                send(answers, (_FAILED, portable(err)))


class _Shared(Share[Any]):
    """For a worker of a crew."""

    def __init__(self, wanted: int, orders: int, answers: int) -> None:
        self._wanted, self._orders, self._answers = wanted, orders, answers
        self._poll = select.poll()
        self._poll.register(wanted, select.POLLIN)
        self._poll.register(orders, select.POLLIN)

    def wanted(self) -> bool:
        for fd, _ in self._poll.poll(0):
            if fd == self._orders:
                raise _Stopped
            with contextlib.suppress(BlockingIOError):  # another one was faster
                return bool(os.read(self._wanted, 1))
        return False

    def give(self, part: Any) -> None:
        send(self._answers, (_GIVEN, part))


def _answer(fd: int) -> Tuple[str, Any]:
    """What a worker says; its error is raised here.

    Raises:
        ChildProcessError: the worker was killed.
    """
    try:
        kind, value = receive(fd)
    except EOFError:
        raise ChildProcessError("a worker process was killed") from None
    if kind == _FAILED:
        reraise(value)
    return kind, value
