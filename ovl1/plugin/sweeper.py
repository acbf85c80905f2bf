"""Deleting layers in the background.

Docker removes a layer under a lock of its whole layer store: as long as it takes, even ``docker
info`` waits. So a layer is only renamed before the answer, and deleted here.
"""

from __future__ import annotations

import threading
from typing import Callable, Optional

from ovl1.closing import Closing
from ovl1.driver.common import OverlayDriver


class Sweeper(Closing):
    """A thread that sweeps a driver's home whenever it is told to; a context manager.

    Args:
        failed: is told why a sweep has failed; the next one tries again.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._wanted: Optional[OverlayDriver] = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def sweep(self, driver: OverlayDriver) -> None:
        """Sweep soon; does not wait."""
        with self._changed:
            self._wanted = driver
            self._changed.notify()

    def close(self, patience: Optional[float] = 30) -> None:
        """Finish what there is to do; idempotent.

        Args:
            patience: seconds. What is left is done by the next plugin.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._closed)
                driver, self._wanted = self._wanted, None
            if driver is None:
                return
            try:
                driver.sweep()
            except Exception as err:  # noqa: BLE001 - the thread must go on
                self._failed(err)
