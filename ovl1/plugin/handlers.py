"""What each call of the plugin protocol does with the driver.

Docker has one driver behind a socket, which its ``Init`` opens; calls run side by side in as many
threads as the server gives them, and the driver's own locks keep them apart. Nothing here knows
HTTP.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterator, Mapping, Optional

from ovl1.closing import Closing
from ovl1.driver.common import RUNTIME, OverlayDriver
from ovl1.driver.opening import open_driver
from ovl1.errors import OvlError, Refused, WrongUsage
from ovl1.linux.durable import sync_file_system
from ovl1.plugin.memory import Memory
from ovl1.plugin.protocol import BadRequest, Fields, change_values, encoded
from ovl1.plugin.sweeper import Sweeper
from ovl1.store.layout import LINKS, OVERLAY2

Values = Mapping[str, object]
_DONE: Values = {}


class Plugin(Closing):
    """A driver behind Docker's protocol; a context manager, which leaves all mounts as they are.

    Args:
        layout: of the layers, ``overlay`` or ``overlay2``.
        socket: the path of the socket that it is reached by, as a name for what it remembers.
        failed: is told of failures that no call can answer with.
        state: where it keeps what must outlive it, and the driver its locks and counts.
        sync: let a layer's content be on the disk before Docker is told that it is there.
        owner_names: see `ovl1.layer.pack.Packer`.
    """

    def __init__(
        self,
        layout: str,
        socket: Path,
        *,
        failed: Callable[[BaseException], None],
        state: Path = RUNTIME,
        sync: bool = True,
        owner_names: bool = False,
    ) -> None:
        self._layout = layout
        self._state = state
        self._sync = sync
        self._owner_names = owner_names
        self._memory = Memory(state, socket)
        self._opened: Optional[OverlayDriver] = None
        self._opening = threading.Lock()
        self._sweeper = Sweeper(failed)
        init = self._memory.init
        if init is not None:
            try:
                self._reopen(Fields.parse(init))
            except (OvlError, OSError) as err:
                failed(err)

    def close(self) -> None:
        """Finish deleting; idempotent."""
        self._sweeper.close()

    def call(self, name: str, fields: Fields) -> Values:
        """Do what one of `CALLS` says.

        Returns:
            The answer, to be encoded as JSON.

        Raises:
            BadRequest: a field is missing or of a wrong kind.
            OvlError, OSError: the driver could not do it.
        """
        return CALLS[name](self, fields)

    @contextlib.contextmanager
    def applying(self, fields: Fields) -> Iterator[None]:
        """Keep others from filling a layer for the time of the block, and for ever if it fails.

        The block succeeds when the client has its answer, even if that is that the layer could
        not be filled: then it does not try again. Raises as `call`, and:

        Raises:
            Refused: an attempt broke off.
        """
        layer_id = fields.layer_id
        self._driver.metadata(layer_id)  # There must be one; only what there is gets a mark.
        with self._memory.applying(layer_id):
            yield

    def apply_diff(self, fields: Fields, tar: BinaryIO) -> Values:
        """Fill a layer; raises as `call`, and what reading from `tar` raises.

        Docker records an image when it has the answer, and waits for its records to be on the
        disk; so the layer must be there first, and all that led to it.
        """
        driver = self._driver
        applied = driver.apply_diff(fields.layer_id, fields.parent, tar)
        if self._sync:
            sync_file_system(driver.layout.home)
        return {"Size": applied.size}

    def diff(self, fields: Fields) -> Iterator[bytes]:
        """A layer's changes as a tar; raises as `call`, before the first chunk or later."""
        return self._driver.diff(fields.layer_id, fields.parent)

    @property
    def _driver(self) -> OverlayDriver:
        if self._opened is None:
            raise Refused(
                "the plugin does not know the daemon's data-root",
                details="The daemon tells it when it starts (GraphDriver.Init), and has not yet.",
                resolution="Restart the Docker daemon.",
            )
        return self._opened

    # The calls.

    def _init(self, fields: Fields) -> Values:
        home = _home(fields)
        if fields.texts("Opts"):
            raise Refused(
                f"unknown storage options: {', '.join(fields.texts('Opts'))}",
                details="This driver has none.",
                resolution="Remove storage-opts from daemon.json, or --storage-opt.",
            )
        with self._opening:
            driver = self._open(home, fields)
            # A daemon that was killed has put back nothing of what it had.
            driver.forget_counts()
            self._memory.forget()
            self._memory.remember(encoded(fields.values))
            self._opened = driver
        self._sweeper.sweep(driver)
        return _DONE

    def _reopen(self, fields: Fields) -> None:
        """Go on after a restart, of which the daemon knows nothing."""
        home = _home(fields)
        if home.is_dir():
            self._opened = self._open(home, fields)
            self._sweeper.sweep(self._opened)

    def _open(self, home: Path, fields: Fields) -> OverlayDriver:
        if home.is_dir() and any(home.iterdir()):
            is_other = (home / LINKS).is_dir() != (self._layout == OVERLAY2)
            if is_other:
                raise Refused(
                    f"{home} holds layers of the other layout, not {self._layout}",
                    resolution="Serve it with the other --layout.",
                )
        return open_driver(
            home.parent,
            self._layout,
            home=home.name,
            id_maps=fields.id_maps,
            runtime=self._state,
            # A container's layer need not outlive a power cut: what it writes does not, either.
            sync=False,
            owner_names=self._owner_names,
        )

    def _create(self, fields: Fields) -> Values:
        if fields.storage_options:
            raise Refused(
                f"--storage-opt is not supported for {self._layout}",
                details=f"Given were: {', '.join(fields.storage_options)}.",
            )
        layer_id = fields.layer_id
        self._driver.create_read_write(layer_id, fields.parent)
        self._memory.clear(layer_id)
        return _DONE

    def _remove(self, fields: Fields) -> Values:
        driver, layer_id = self._driver, fields.layer_id
        driver.discard(layer_id)
        self._memory.clear(layer_id)
        self._sweeper.sweep(driver)
        return _DONE

    def _get(self, fields: Fields) -> Values:
        return {"Dir": os.fspath(self._driver.get(fields.layer_id, fields.text("MountLabel")))}

    def _put(self, fields: Fields) -> Values:
        self._driver.put(fields.layer_id)
        return _DONE

    def _exists(self, fields: Fields) -> Values:
        return {"Exists": self._driver.exists(fields.layer_id)}

    def _status(self, _fields: Fields) -> Values:
        return {"Status": [list(line) for line in self._driver.status()]}

    def _metadata(self, fields: Fields) -> Values:
        return {"Metadata": self._driver.metadata(fields.layer_id)}

    def _cleanup(self, _fields: Fields) -> Values:
        self._driver.cleanup()
        self._memory.forget()
        return _DONE

    def _changes(self, fields: Fields) -> Values:
        found = self._driver.changes(fields.layer_id, fields.parent, docker=True)
        return {"Changes": change_values(found)} if found else {}

    def _diff_size(self, fields: Fields) -> Values:
        size = self._driver.diff_size(fields.layer_id, fields.parent, docker=True)
        return {"Size": size}

    def _activate(self, _fields: Fields) -> Values:
        return {"Implements": ["GraphDriver"]}

    def _capabilities(self, _fields: Fields) -> Values:
        # With true, Docker would keep no tar-split, and ask for a Diff at each save.
        return {"Capabilities": {"ReproducesExactDiffs": False}}


_Call = Callable[[Plugin, Fields], Values]

CALLS: Dict[str, _Call] = {
    "Plugin.Activate": Plugin._activate,
    "GraphDriver.Init": Plugin._init,
    "GraphDriver.Capabilities": Plugin._capabilities,
    "GraphDriver.Create": Plugin._create,
    "GraphDriver.CreateReadWrite": Plugin._create,
    "GraphDriver.Remove": Plugin._remove,
    "GraphDriver.Get": Plugin._get,
    "GraphDriver.Put": Plugin._put,
    "GraphDriver.Exists": Plugin._exists,
    "GraphDriver.Status": Plugin._status,
    "GraphDriver.GetMetadata": Plugin._metadata,
    "GraphDriver.Cleanup": Plugin._cleanup,
    "GraphDriver.Changes": Plugin._changes,
    "GraphDriver.DiffSize": Plugin._diff_size,
}
"""All calls that take and answer JSON alone, by their paths without the slash."""

DIFF, APPLY_DIFF = "GraphDriver.Diff", "GraphDriver.ApplyDiff"
"""The calls that answer with a tar, and that take one."""


def _home(fields: Fields) -> Path:
    """``Home``: the data-root and the driver's own name.

    Raises:
        WrongUsage: it is no absolute path of a directory in one that exists.
    """
    text = fields.text("Home")
    home = Path(text)
    if not home.is_absolute() or ".." in home.parts or not home.name:
        raise BadRequest(f"Home must be an absolute path, not {text[:200]!r}")
    with contextlib.suppress(OSError):
        if home.parent.is_dir() and not home.is_symlink():
            return home
    raise WrongUsage(f"{home.parent} is not a directory in which layers can be kept")
