"""What the conformance suite works with: a driver behind the contract, and a place of its own.

A `Kind` makes drivers; the suite knows no more of them than `ovl1.driver.base.Driver`, but for the
names of the layout on disk where a test is about just these.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.model import Change, ChangeKind, LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.tree.remove import remove_tree
from tests.support.layers import Made, make_tar
from tests.support.plugin_kind import close_plugin, open_through_socket
from tests.support.trees import Seen, shown

MS_BIND = 0x1000  # linux/mount.h
A, C, D = ChangeKind.ADDED, ChangeKind.MODIFIED, ChangeKind.DELETED


@dataclass(frozen=True)
class Kind:
    """A driver to test: its layout, and how it is opened on a data-root, again and again."""

    name: str
    layout: str
    open: Callable[..., Driver]


def _opens(name: str) -> Callable[..., Driver]:
    return lambda data_root, **options: open_driver(data_root, name, **options)


KINDS = (
    Kind("overlay", OVERLAY, _opens(OVERLAY)),
    Kind("overlay2", OVERLAY2, _opens(OVERLAY2)),
)


SOCKET = Kind("socket", OVERLAY, open_through_socket)
"""As Docker has it: `ovl1 serve` in between."""


class World:
    """A data-root with one driver, and short ways to fill it."""

    def __init__(self, kind: Kind, data_root: Path, runtime: Path, **options: Any) -> None:
        data_root.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.data_root = data_root.resolve()
        self.runtime = runtime
        self._options = {"sync": False, **options}
        self.driver = self.again()
        self.layout = self.driver.layout

    def again(self, **options: Any) -> Driver:
        """Another driver on the same place, as after a restart."""
        opened = {"runtime": self.runtime, **self._options, **options}
        return self.kind.open(self.data_root, **opened)

    @property
    def is_v1(self) -> bool:
        return self.kind.layout == OVERLAY

    def image(self, parent: Optional[LayerId], *entries: Made) -> LayerId:
        """A layer made of a tar."""
        layer_id = self.empty(parent)
        self.driver.apply_diff(layer_id, parent, make_tar(entries))
        return layer_id

    def empty(self, parent: Optional[LayerId] = None) -> LayerId:
        layer_id = new_id()
        self.driver.create(layer_id, parent)
        return layer_id

    def container(self, parent: Optional[LayerId]) -> LayerId:
        layer_id = new_id()
        self.driver.create_read_write(layer_id, parent)
        return layer_id

    @contextlib.contextmanager
    def at(self, layer_id: LayerId) -> Iterator[Path]:
        """The layer's tree, for the time of the block."""
        path = self.driver.get(layer_id)
        try:
            yield path
        finally:
            self.driver.put(layer_id)

    def shown(self, layer_id: LayerId) -> Dict[bytes, Seen]:
        with self.at(layer_id) as path:
            return shown(path)

    def changes(self, layer_id: LayerId, parent: Optional[LayerId]) -> Dict[str, ChangeKind]:
        """The changes as paths and what happened to them; their order is checked."""
        found = self.driver.changes(layer_id, parent)
        assert [change.path for change in found] == sorted(change.path for change in found)
        return named(found)

    def mounted(self) -> List[Path]:
        return mounts.mounted_below(self.data_root)

    def locks(self) -> List[Path]:
        """The lock files that are there now."""
        found = [path for path in self.runtime.rglob("*") if path.is_file()]
        return [path for path in found if self.runtime / "plugin" not in path.parents]

    def remove(self) -> None:
        """Leave nothing, whatever a test has done."""
        close_plugin(self.runtime)
        for target in self.mounted():
            mounts.detach(target)
        with Directory.open(self.data_root.parent) as parent:
            remove_tree(parent, os.fsencode(self.data_root.name))


def named(changes: Sequence[Change]) -> Dict[str, ChangeKind]:
    return {os.fsdecode(change.path): change.kind for change in changes}


def new_id(suffix: str = "") -> LayerId:
    """An id that nothing else has."""
    return LayerId(os.urandom(32).hex() + suffix)


def assert_soon(condition: Callable[[], bool]) -> None:
    """Wait for a condition that must come true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
