"""Signals held back while something must not be left half made."""

from __future__ import annotations

import contextlib
import signal
from typing import Callable, Iterator


@contextlib.contextmanager
def signals_held() -> Iterator[Callable[[], None]]:
    """Hold back the signals that would end the process.

    An exception out of nowhere could come between a mount and whoever unmounts it. Programs that
    are called meanwhile inherit this.

    Yields:
        a function that raises `KeyboardInterrupt` if such a signal has come.
    """
    held = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # As nohup leaves it.
        held.add(signal.SIGHUP)

    def check() -> None:
        if signal.sigtimedwait(held, 0) is not None:
            raise KeyboardInterrupt

    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield check
    finally:
        # Who was impatient has what he wanted.
        while signal.sigtimedwait(held, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
