"""Work done in a child process, so that what it takes can be told from everything else.

What the child uses counts together with its own children, for which it waits. It begins with the
memory of this process, which therefore should not have grown before.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Any, Callable, NamedTuple, TypeVar

from ovl1.errors import OvlError
from ovl1.linux import forked

T = TypeVar("T")
Tell = Callable[[Any], None]
Check = Callable[[], None]
"""Called all the time; what it raises ends the work."""

_MOMENT = 0.1
_TOLD, _DONE, _FAILED = range(3)


class Outcome(NamedTuple):
    """Of a child that has ended well."""

    value: Any
    peak: int
    """Bytes of memory of its largest process."""


def in_child(function: Callable[[Tell], Any], told: Tell, check: Check) -> Outcome:
    """Run `function` in a process of its own, and wait for it; however this ends, it is gone.

    Args:
        function: is given a function that passes objects on to `told`, here.

    Raises:
        OvlError: it was killed.
        Exception: what it raised.
    """
    reading, writing = os.pipe()
    pid = forked.fork(lambda: _live(function, writing), close=[reading])
    os.close(writing)
    try:
        kind, value = _messages(reading, told, check)
    except BaseException:  # Ctrl-C, too: nothing runs on without us.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        forked.await_end(pid)
        raise
    finally:
        os.close(reading)
    _, _, usage = os.wait4(pid, 0)
    if kind == _FAILED:
        forked.reraise(value)
    return Outcome(value, usage.ru_maxrss << 10)


def _messages(reading: int, told: Tell, check: Check) -> Any:
    while True:
        while not select.select([reading], [], [], _MOMENT)[0]:
            check()
        try:
            kind, value = forked.receive(reading)
        except EOFError as err:
            raise OvlError(
                "a part of the benchmark was killed",
                details="It ran in a process of its own. The kernel kills when memory runs out.",
                resolution="Look into the kernel's log (dmesg).",
            ) from err
        if kind != _TOLD:
            return kind, value
        told(value)
        check()


def _live(function: Callable[[Tell], Any], writing: int) -> None:
    # Whoever made us may hold signals back; we are to be stopped by any.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        message = _DONE, function(lambda value: forked.send(writing, (_TOLD, value)))
    except BaseException as err:  # noqa: BLE001 - it is raised again on the other side
        forked.send(writing, (_FAILED, forked.portable(err)))
    else:
        forked.send(writing, message)
