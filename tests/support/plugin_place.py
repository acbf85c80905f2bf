"""A data-root that a running plugin knows of, for tests of its calls."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple

from ovl1.linux import mounts
from ovl1.model import LayerId
from ovl1.store.layout import Layout
from tests.support.layers import entry, make_tar
from tests.support.plugin import Serve
from tests.support.plugin_client import Answer, Connection, SocketDriver

BIG = 8 << 20  # More than all buffers between two processes.
HALF = BIG // 2


class Place(NamedTuple):
    """A data-root, the plugin, and the driver behind its socket."""

    data_root: Path
    serve: Serve
    driver: SocketDriver

    @property
    def home(self) -> Path:
        return self.driver.layout.home

    def layer(self, parent: LayerId | None, *entries: object) -> LayerId:
        """An image layer with these entries."""
        layer_id = new_id()
        self.driver.create(layer_id, parent)
        self.driver.apply_diff(layer_id, parent, make_tar(entries))  # type: ignore[arg-type]
        return layer_id

    def container(self, parent: LayerId) -> LayerId:
        layer_id = new_id()
        self.driver.create_read_write(layer_id, parent)
        return layer_id

    def ask(self, call: str, **values: object) -> Answer:
        connection = Connection(self.serve.path)
        try:
            return connection.ask(f"GraphDriver.{call}", values)
        finally:
            connection.close()

    def mounted(self) -> List[Path]:
        return mounts.mounted_below(self.data_root)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.serve.pid}/fd"))


def new_id() -> LayerId:
    return LayerId(os.urandom(32).hex())


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def server() -> Iterator[Serve]:
    """One for many tests, as long as it lives: each introduces a data-root of its own."""
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        work = Path(name)
        with Serve(work / "x.sock", work, ["--no-sync"]) as serve:
            yield serve


@contextlib.contextmanager
def introduced(disk: Path, serve: Serve) -> Iterator[Place]:
    """A new data-root, and the plugin that knows of it."""
    data_root = Path(tempfile.mkdtemp(dir=disk))
    if not serve.answers():
        serve.start()
    made = Place(data_root, serve, SocketDriver(serve.path, Layout(data_root, "ovl1")))
    try:
        made.driver.init()
        yield made
    finally:
        for target in made.mounted():
            mounts.detach(target)


def half_sent(place: Place, layer_id: LayerId, data: bytes) -> socket.socket:
    """An ``ApplyDiff`` that has begun, and of which more is to come."""
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(os.fspath(place.serve.path))
    raw.sendall(
        f"POST /GraphDriver.ApplyDiff?id={layer_id}&parent= HTTP/1.1\r\nHost: \r\n"
        "Transfer-Encoding: chunked\r\n\r\n".encode()
    )
    raw.sendall(b"%x\r\n%s\r\n" % (len(data), data))
    soon(lambda: any(place.driver.layout.layer(layer_id).glob("tmproot*/big")))
    return raw


def is_empty(place: Place, layer_id: LayerId) -> bool:
    """Whether a layer without a parent is as `create` made it."""
    directory = place.driver.layout.layer(layer_id)
    return os.listdir(directory) == ["root"] and os.listdir(directory / "root") == []


def retried(place: Place, layer_id: LayerId, body: bytes = b"") -> Answer:
    """As Docker repeats a request whose connection broke."""
    connection = Connection(place.serve.path)
    try:
        return connection.send_raw(f"GraphDriver.ApplyDiff?id={layer_id}&parent=", body)
    finally:
        connection.close()


def big_tar() -> bytes:
    return make_tar([entry("big", data=bytes(BIG)), entry("last")]).read()
