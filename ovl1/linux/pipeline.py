"""Work that is done ahead on another processor: a forked process writes, this one reads.

For streams that cost time to make (decompress, hash) and time to use. The process ends with its
stream, or with the caller, whatever ends first.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import TracebackType
from typing import BinaryIO, Callable, Generic, Optional, Tuple, Type, TypeVar

from ovl1.closing import Closing
from ovl1.linux.forked import PIPE_SIZE, await_end, fork, portable, receive, reraise, send, widen

Result = TypeVar("Result")


class Ahead(Closing, Generic[Result]):
    """What a function writes, as a stream to read from; a context manager.

    Args:
        function: gets the stream to write to, in a process of its own; what it returns or raises
            must be picklable.

    An error of the block that comes after the end of the stream, while the function has failed,
    is taken for its consequence: what the function raised comes out instead.
    """

    def __init__(self, function: Callable[[BinaryIO], Result]) -> None:
        data, outcome = os.pipe(), os.pipe()
        widen(data[1])
        self._pid = fork(lambda: _run(function, data[1], outcome[1]), close=(data[0], outcome[0]))
        os.close(data[1])
        os.close(outcome[1])
        self._outcome = outcome[0]
        self._said: Optional[Tuple[Optional[Result], Optional[Tuple[BaseException, str]]]] = None
        self.stream: BinaryIO = os.fdopen(data[0], "rb", PIPE_SIZE)

    def result(self) -> Result:
        """What the function returned; what it still writes is passed over.

        Raises:
            BaseException: what the function raised.
            ChildProcessError: it was killed.
        """
        if self._said is None:
            while self.stream.read(PIPE_SIZE):
                pass
            try:
                self._said = receive(self._outcome)
            except EOFError:
                raise ChildProcessError("a process that was reading ahead was killed") from None
        value, error = self._said
        if error is not None:
            reraise(error)
        return value  # type: ignore[return-value] # no error, so there is one

    def close(self) -> None:
        """End the process and close the stream; idempotent."""
        if self._pid:
            pid, self._pid = self._pid, 0
            self.stream.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await_end(pid)
            os.close(self._outcome)

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            if isinstance(value, Exception) and self._is_at_end():
                self.result()
        finally:
            self.close()

    def _is_at_end(self) -> bool:
        fd = self.stream.fileno()
        return bool(select.select([fd], [], [], 0)[0]) and not os.read(fd, 1)


def _run(function: Callable[[BinaryIO], Result], data: int, outcome: int) -> None:
    try:
        with os.fdopen(data, "wb", PIPE_SIZE) as stream:
            said = function(stream), None
    except BaseException as err:  # noqa: BLE001 - whatever it is, the caller raises it again
        send(outcome, (None, portable(err)))
    else:
        send(outcome, said)
