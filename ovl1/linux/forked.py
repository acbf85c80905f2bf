"""Child processes that are forked to compute, and what they say to the process that made them.

A forked child has the caller's objects and what it has open, without a copy; what it changes in
memory stays its own. It may be forked where other threads run: what it does must then not wait for
a lock that such a thread may hold, as importing and logging do.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pickle
import signal
import traceback
from typing import Any, Callable, NoReturn, Sequence, Tuple

from ovl1.linux import libc

PIPE_SIZE = 1 << 20
"""Bytes that `widen` lets a pipe hold: what an unprivileged process may have (pipe(7))."""

_F_SETPIPE_SZ = 1031
"""linux/fcntl.h"""

_SIZE = 8

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def fork(function: Callable[[], None], *, close: Sequence[int] = ()) -> int:
    """Let a new child process run `function`, and then be gone without a trace.

    Ctrl-C and its like are for the caller alone, also when they are sent to both: a terminal that
    goes away does so. The child ends when the caller's thread does, however that ends.

    Args:
        function: what it raises is lost: see `attempt`.
        close: descriptors that the child closes first: the caller's ends of pipes.

    Returns:
        The child's process id, for `await_end`.
    """
    parent = os.getpid()
    # Ctrl-C must come neither before the child ignores it nor before we know the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        pid = os.fork()
        if not pid:
            _live(function, parent, close, mask)
        return pid
    finally:
        if os.getpid() != parent:
            _vanish()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def await_end(pid: int) -> None:
    """Wait until a child has ended; its exit code says nothing."""
    # Somebody may have asked the kernel not to keep ended children for us.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def send(fd: int, value: object) -> None:
    """Write an object to a pipe.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    left = memoryview(len(data).to_bytes(_SIZE, "little") + data)
    while left:
        left = left[os.write(fd, left) :]


def receive(fd: int) -> Any:
    """Read what `send` wrote.

    Raises:
        EOFError: the other side has ended before it had said everything.
    """
    return pickle.loads(_read(fd, int.from_bytes(_read(fd, _SIZE), "little")))


def widen(fd: int) -> None:
    """Let a pipe hold `PIPE_SIZE` bytes if that is allowed: who writes waits less for who reads."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, _F_SETPIPE_SZ, PIPE_SIZE)


def portable(error: BaseException) -> Tuple[BaseException, str]:
    """An error and its traceback in a form that can be sent; `reraise` is for the other side."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - some exceptions cannot be pickled, each in its own way
        error = RuntimeError(repr(error))
    return error, trace


def reraise(sent: Tuple[BaseException, str]) -> NoReturn:
    """Raise here what a child has met with; its traceback comes as the cause."""
    error, trace = sent
    raise error from _InChild(trace)


class _InChild(Exception):
    """The traceback of an error, which a pickle does not hold."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _live(function: Callable[[], None], parent: int, close: Sequence[int], mask: Any) -> NoReturn:
    try:
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # Else a caller that is killed leaves its child waiting, with its locks, for ever.
        libc.die_with_parent()
        if os.getppid() == parent:
            # The caller's garbage is the caller's to finalize.
            gc.freeze()
            for fd in close:
                os.close(fd)
            function()
    finally:
        _vanish()


def _vanish() -> NoReturn:
    """End this child now: exit handlers and buffers are the caller's, and would be used twice."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _read(fd: int, size: int) -> bytes:
    read = b""
    while len(read) < size:
        chunk = os.read(fd, size - len(read))
        if not chunk:
            raise EOFError
        read += chunk
    return read
