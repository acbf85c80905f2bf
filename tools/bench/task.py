"""One call of ovl1, timed inside of the process: ``python task.py ACTION ARGUMENTS``.

Prints JSON: seconds, CPU seconds and the peak of memory with children, and what the call gave.
Each action imports what it needs, so that the time of the whole process means something, too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Optional, cast

Action = Callable[[], Any]


def clone(source: str, target: str, workers: str) -> Action:
    from ovl1.linux.beneath import Directory
    from ovl1.tree.clone import clone

    def action() -> int:
        with Directory.open(Path(source)) as old, Directory.open(Path(target)) as new:
            return clone(old, new, workers=int(workers)).linked

    return action


def remove(parent: str, name: str, workers: str) -> Action:
    from ovl1.linux.beneath import Directory
    from ovl1.tree.remove import remove_tree

    def action() -> int:
        with Directory.open(Path(parent)) as directory:
            return remove_tree(directory, os.fsencode(name), workers=int(workers))

    return action


def apply(data_root: str, runtime: str, layer: str, parent: str = "") -> Action:
    """Create a layer of the driver and fill it from standard input; synced at the end."""
    from ovl1.driver.overlay1 import Overlay1Driver
    from ovl1.linux.durable import sync_file_system
    from ovl1.model import LayerId
    from ovl1.store.layout import OVERLAY, Layout

    driver = Overlay1Driver(Layout(Path(data_root), OVERLAY), runtime=Path(runtime))

    def action() -> int:
        below = LayerId.parse(parent) if parent else None
        driver.create(LayerId.parse(layer), below)
        applied = driver.apply_diff(LayerId.parse(layer), below, _input())
        sync_file_system(Path(data_root))
        return applied.entries

    return action


def register(data_root: str, parent: str = "") -> Action:
    """Add a layer to a store, with its digest and tar-split, as ``docker load`` does; synced."""
    from ovl1.driver.opening import open_driver
    from ovl1.images.build import add_layer
    from ovl1.linux.durable import sync_file_system
    from ovl1.model import ChainId
    from ovl1.store.layout import OVERLAY

    driver = open_driver(Path(data_root), OVERLAY, sync=False)

    def action() -> str:
        below: Optional[ChainId] = ChainId.parse(parent) if parent else None
        chain = add_layer(driver, below, _input())
        sync_file_system(Path(data_root))
        return chain

    return action


def changes(data_root: str, runtime: str, layer: str, how: str) -> Action:
    """What a container has changed since ``docker create``, which made its init layer."""
    from ovl1.driver.overlay1 import Overlay1Driver
    from ovl1.model import LayerId
    from ovl1.store.layout import OVERLAY, Layout

    driver = Overlay1Driver(Layout(Path(data_root), OVERLAY), runtime=Path(runtime))

    def action() -> int:
        init = LayerId.parse(f"{layer}-init")
        return len(driver.changes(LayerId.parse(layer), init, docker=how == "docker"))

    return action


ACTIONS: Dict[str, Callable[..., Action]] = {
    function.__name__: function for function in (clone, remove, apply, register, changes)
}


def _input() -> BinaryIO:
    return cast(BinaryIO, sys.stdin.buffer)


def _cpu() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    action = ACTIONS[sys.argv[1]](*sys.argv[2:])
    cpu, started = _cpu(), time.monotonic()
    answer = action()
    seconds, cpu = time.monotonic() - started, _cpu() - cpu
    sides = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    peak = max(resource.getrusage(side).ru_maxrss for side in sides) << 10
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "answer": answer}))


if __name__ == "__main__":
    main()
