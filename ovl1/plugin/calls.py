"""Calls as they are logged and counted."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Tuple


@dataclass
class Call:
    """One call of a client, from its request to the end of the answer."""

    name: str
    """As the protocol has it; ``other`` for what it does not know."""
    about: str = ""
    """Which layer, as the client said it: to be escaped before it is shown."""
    status: int = 0
    """Of HTTP; 0 if the client went away before there was one."""
    error: str = ""
    """Why it failed; empty if it did not."""
    seconds: float = 0.0
    received: int = 0
    """Bytes of the request's body."""
    sent: int = 0
    """Bytes of the answer's body."""

    @property
    def line(self) -> str:
        """In one line, for a log."""
        parts = [self.name.rpartition(".")[2], self.about, f"{self.seconds * 1000:.1f} ms"]
        if self.received:
            parts.append(f"in {self.received}")
        if self.sent:
            parts.append(f"out {self.sent}")
        if self.error:
            parts.append(f"failed ({self.status}): {self.error}")
        return " ".join(part for part in parts if part)


Watcher = Callable[[Call], None]
"""Told about each call when it is over, in the thread that did it."""


class Metrics:
    """Counters over all calls, in the text format of Prometheus (version 0.0.4); a `Watcher`."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Dict[Tuple[str, str], int] = defaultdict(int)
        self._sums: Dict[str, Dict[str, float]] = {name: defaultdict(float) for name in _SUMS}

    def __call__(self, call: Call) -> None:
        """Count a call."""
        amounts = {
            "seconds": call.seconds,
            "received_bytes": float(call.received),
            "sent_bytes": float(call.sent),
        }
        with self._lock:
            self._calls[call.name, "failed" if call.error else "done"] += 1
            for name, amount in amounts.items():
                self._sums[name][call.name] += amount

    def text(self) -> str:
        """All counters as they are now."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from _head("ovl1_plugin_calls_total", "Calls, by outcome.")
        for (name, outcome), number in sorted(self._calls.items()):
            yield f'ovl1_plugin_calls_total{{call="{name}",outcome="{outcome}"}} {number}'
        for what, description in _SUMS.items():
            metric = f"ovl1_plugin_call_{what}_total"
            yield from _head(metric, description)
            for name, amount in sorted(self._sums[what].items()):
                shown = f"{amount:.6f}" if what == "seconds" else f"{amount:.0f}"
                yield f'{metric}{{call="{name}"}} {shown}'


_SUMS = {
    "seconds": "Time from the request to the end of the answer.",
    "received_bytes": "Bytes of requests' bodies.",
    "sent_bytes": "Bytes of answers' bodies.",
}


def _head(metric: str, description: str) -> List[str]:
    return [f"# HELP {metric} {description}", f"# TYPE {metric} counter"]
