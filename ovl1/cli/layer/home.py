"""The layers of one driver as people name them: ids, default parents, who needs what.

Names lead to layers of the driver; a layer need not have a record of Docker's, which only image
layers and containers do.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Iterator, List, Optional, Tuple, TypeVar

import click

from ovl1.cli.alone import alone
from ovl1.cli.context import Context
from ovl1.driver.base import Driver
from ovl1.driver.opening import DRIVERS, open_driver
from ovl1.errors import BrokenStore, WrongUsage
from ovl1.layer.policy import Policy
from ovl1.model import ChainId, LayerId
from ovl1.store.discovery import discover
from ovl1.store.imagedb import chain_ids
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.lookup import pick
from ovl1.store.store import Store
from ovl1.store.trees import IMAGE, LEFTOVER

F = TypeVar("F", bound=Callable[..., Any])

_INIT = "-init"


@dataclass(frozen=True)
class Home:
    """A store and the driver of its layers."""

    store: Store
    driver: Driver

    def find(self, text: str) -> LayerId:
        """The layer that `text` means: (the beginning of) its id, chain id or diff id.

        A container's own layer goes before its init layer, which has ``-init`` behind its id.

        Raises:
            WrongUsage: there is none, or more than one.
        """
        with contextlib.suppress(BrokenStore):
            whole = LayerId.parse(text)
            if whole in self.store.trees or self.driver.exists(whole):
                return whole
        if text.endswith(_INIT):
            return pick(text[: -len(_INIT)], self._named(init=True), "layer")
        return pick(text, self._named(init=False), "layer")

    def _named(self, *, init: bool) -> Iterator[Tuple[str, LayerId]]:
        for name, tree in self.store.trees.items():
            if tree.kind != LEFTOVER and name.endswith(_INIT) == init:
                yield name[: -len(_INIT)] if init else name, tree.layer_id
        if init:
            return
        for record in self.store.layers.values():
            yield record.chain_id, record.cache_id
            if record.parent is not None:
                what = f"{record.diff_id} (diff id of layer {record.chain_id.short})"
                yield what, record.cache_id

    def parent(self, layer_id: LayerId, given: Optional[str], *, none: bool) -> Optional[LayerId]:
        """The layer to compare with: as given, else the one that the store says it stands on.

        Raises:
            WrongUsage: nothing says it, or `given` and `none` contradict each other.
            BrokenStore: the image layer below a container has no record.
        """
        if given is not None and none:
            raise WrongUsage("give either --parent or --no-parent")
        if none:
            return None
        if given is not None:
            return self.find(given)
        return self._recorded_parent(layer_id)

    def _recorded_parent(self, layer_id: LayerId) -> Optional[LayerId]:
        record = self.store.parts.layers.by_cache_id().get(layer_id)
        if record is not None:
            return self._tree_of(record.parent)
        for mount in self.store.mounts.values():
            if layer_id == mount.mount_id and mount.init_id is not None:
                return mount.init_id
            if layer_id in (mount.mount_id, mount.init_id):
                return self._tree_of(mount.parent)
        tree = self.store.trees.get(layer_id)
        if tree is not None and tree.kind == IMAGE:
            raise WrongUsage(
                f"nothing says on which layer {layer_id.short} stands",
                details="A complete tree of the overlay driver does not name its parent, and this "
                "one belongs to no image.",
                resolution="Give --parent ID, or --no-parent for its whole tree.",
            )
        return tree.lower if tree else None

    def _tree_of(self, chain_id: Optional[ChainId]) -> Optional[LayerId]:
        return self.store.parts.layers.chain(chain_id)[0].cache_id if chain_id else None

    def needed_by(self, layer_id: LayerId, besides: Collection[LayerId] = ()) -> List[str]:
        """In words, what of the store needs the layer; layers `besides` do not count."""
        found = []
        for record in self.store.layers.values():
            if record.cache_id == layer_id:
                found += self._images(record.chain_id) or [f"layer record {record.chain_id.short}"]
        if layer_id in self.store.parts.layers.claimed and not found:
            found.append("a layer record that is broken or half removed")
        for mount in self.store.mounts.values():
            if layer_id in (mount.mount_id, mount.init_id):
                container = self.store.containers.get(mount.container_id)
                found.append(f"container {container.name if container else mount.container_id}")
        for tree in self.store.trees.values():
            if layer_id in tree.lowers and tree.layer_id not in besides:
                found.append(f"layer {tree.layer_id.short}, which stands on it")
        return found

    def _images(self, chain_id: ChainId) -> List[str]:
        return [
            "image " + (", ".join(self.store.references.tags_of(key)) or key.short)
            for key, image in self.store.images.items()
            if chain_id in chain_ids(image.diff_ids)
        ]


@contextlib.contextmanager
def opened(
    context: Context,
    *,
    changing: bool = False,
    new: bool = False,
    policy: Optional[Policy] = None,
) -> Iterator[Home]:
    """The store that the options name, and its driver.

    Args:
        changing: keep other ovl1 commands out, and refuse to work beside a daemon.
        new: the store need not exist; then the driver's home is made.
        policy: what applying a layer allows.

    Raises:
        Refused: a daemon, or another ovl1 command, works on it.
        WrongUsage: there is none.
    """
    layout = context.layout()
    with contextlib.ExitStack() as stack:
        if changing:
            stack.enter_context(alone(layout.data_root))
        missing = discover(layout.data_root).store(layout.driver) is None
        store = Store.of(layout) if new and missing else context.store()
        make = open_driver if new else _existing_driver
        yield Home(store, make(layout.data_root, layout.driver, policy=policy))


def _existing_driver(data_root: Path, name: str, *, policy: Optional[Policy]) -> Driver:
    """`open_driver`, but makes nothing."""
    return DRIVERS[name](Layout(data_root, name), policy=policy)


def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> List[str]:
    """The ids in the driver's home that begin as the word being typed."""
    options = context.find_root().params
    drivers = [options["driver"]] if options.get("driver") else [OVERLAY, OVERLAY2]
    found: List[str] = []
    for driver in drivers:
        with contextlib.suppress(OSError):
            found += os.listdir(Path(options["data_root"]) / driver)
    return sorted(name for name in found if name.startswith(incomplete) and _is_id(name))


def _is_id(name: str) -> bool:
    try:
        return LayerId.parse(name) == name
    except BrokenStore:
        return False


def layer_argument(function: F) -> F:
    """The argument ``ID`` of a command on one layer."""
    return click.argument("layer", metavar="ID", shell_complete=complete)(function)


def parent_options(function: F) -> F:
    """With what to compare a layer: ``--parent ID`` or ``--no-parent``."""
    function = click.option(
        "--no-parent", is_flag=True, help="Take the layer's whole tree for its change."
    )(function)
    return click.option(
        "--parent",
        metavar="ID",
        shell_complete=complete,
        help="The layer to compare with.  [default: the one that it stands on]",
    )(function)
