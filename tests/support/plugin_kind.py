"""The driver behind the plugin's socket, opened as the conformance suite opens any driver."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple

from ovl1.cli.main import run
from ovl1.model import IdMaps
from ovl1.store.layout import Layout
from tests.support.child import Child, running
from tests.support.plugin_client import Connection, SocketDriver

# Once, and not in each of the many children.
with contextlib.suppress(ImportError):
    importlib.import_module("ovl1.plugin.server")

NAME = "ovl1"

_IN_PROCESS = "it interferes with the driver in this process"
_ONCE = "what broke off is not tried again: Docker would send only the rest"
NOT_HERE = {
    "test_killed_while_it_removes": _IN_PROCESS,
    "test_killed_while_it_creates": _IN_PROCESS,
    "test_killed_at_any_moment": _IN_PROCESS,
    "test_interrupted_at_any_moment": _IN_PROCESS,
    "test_what_cannot_be_made_leaves_nothing": _IN_PROCESS,
    "test_killed_in_the_middle_of_a_tar": _ONCE,
    "test_a_reader_that_fails": _ONCE,
    "test_a_tar_becomes_a_layer": "the protocol does not tell the number of entries",
    "test_a_limit": "the protocol has no word for limits",
    "test_what_is_no_id_is_refused": "an empty parent is none, and a URL cannot hold them all",
    "test_everything_belongs_to_the_containers_root": "there is one driver at a time",
    "test_a_layer_that_is_removed_while_it_is_read": "a small one has been sent before",
}
"""Tests of the suite that say nothing, or something else, through a socket."""


class _Server(NamedTuple):
    stack: contextlib.ExitStack
    socket: Path


_servers: Dict[Path, _Server] = {}


def open_through_socket(
    data_root: Path,
    layout: str = "overlay1",
    *,
    runtime: Path,
    id_maps: IdMaps | None = None,
    **_options: Any,
) -> SocketDriver:
    """A driver on `data_root`; the first one starts the plugin, `close_plugin` ends it.

    Only the first, and one with other id maps, introduces the data-root: counts are kept, as by a
    daemon that goes on.
    """
    is_new = runtime not in _servers
    if is_new:
        stack = contextlib.ExitStack()
        _servers[runtime] = _Server(stack, stack.enter_context(_serving(layout, runtime)))
    driver = SocketDriver(_servers[runtime].socket, Layout(data_root.resolve(), NAME))
    if is_new or id_maps is not None:
        driver.init(id_maps)
    return driver


def close_plugin(runtime: Path) -> None:
    """End the plugin that keeps its counts there, if there is one."""
    server = _servers.pop(runtime, None)
    if server is not None:
        server.stack.close()


@contextlib.contextmanager
def _serving(layout: str, runtime: Path) -> Iterator[Path]:
    # A test's own directory may have a path that is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        path = Path(name, f"{NAME}.sock")
        options = ("--socket", os.fspath(path), "--state", os.fspath(runtime), "--no-sync")
        # Forked, not started: there are hundreds of them.
        with running(lambda: run(["serve", "--layout", layout, *options])) as child:
            _await(path, child)
            yield path


def _await(path: Path, child: Child) -> None:
    deadline = time.monotonic() + 10
    while True:
        connection = Connection(path)
        with contextlib.suppress(OSError):
            connection.ask("Plugin.Activate")
            return
        connection.close()
        assert time.monotonic() < deadline, child.wait()
        time.sleep(0.005)
