"""Commands that stop cleanly: on a terminal's Ctrl-C, a service manager's SIGTERM, a lost line."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType
from typing import Iterator, Optional

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let the first of these signals raise `KeyboardInterrupt` in the block, and none after it.

    A signal that whoever started us had ignored (nohup, a shell's background) stays so. After a
    stop they are ignored until the process ends, so that it ends with what it has to say.
    """
    stopping = False

    def stop(_number: int, _frame: Optional[FrameType]) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        if not stopping:
            for number in heard:
                signal.signal(number, before[number])
