"""The other side of the plugin's socket: requests as Docker sends them, and a driver made of them.

Written against the protocol alone: of ovl1's plugin nothing is imported.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ovl1.errors import BrokenStore, LayerError, NotPossibleHere, WrongUsage
from ovl1.layer.apply import Applied
from ovl1.model import Change, ChangeKind, IdMaps, LayerId
from ovl1.store.layout import Layout

ACCEPT = "application/vnd.docker.plugins.v1.2+json"
PATIENCE = 10.0
_CHUNK = 32 << 10


class PluginError(LayerError, BrokenStore, WrongUsage, NotPossibleHere):
    """``Err``. The protocol knows no kinds of errors, so that it is of each."""


class Answer(NamedTuple):
    """Status and body."""

    status: int
    body: bytes

    @property
    def values(self) -> Dict[str, Any]:
        """The body as JSON."""
        found: Dict[str, Any] = json.loads(self.body)
        return found


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(os.fspath(self._path))
        except BaseException:
            self.sock.close()
            raise

    def ask(self, call: str, values: object = None, *, method: str = "POST") -> Answer:
        """Ask something in JSON, on a connection that stays open."""
        return self.send_raw(call, json.dumps(values or {}).encode() + b"\n", method=method)

    def send_raw(
        self, call: str, body: Any, *, method: str = "POST", chunked: bool = False
    ) -> Answer:
        """Send a body: bytes, or an iterable of them if `chunked`."""
        headers = {"Accept": ACCEPT, "User-Agent": "Go-http-client/1.1", "Host": ""}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        path = call if call.startswith("/") else f"/{call}"
        self.request(method, path, body=body, headers=headers, encode_chunked=chunked)
        response = self.getresponse()
        return Answer(response.status, response.read())


class SocketDriver:
    """A driver behind a plugin's socket; satisfies `ovl1.driver.base.Driver`.

    Each call has a connection of its own, so that it may be used by threads and after a fork.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self.layout = layout

    def init(self, id_maps: Optional[IdMaps] = None) -> None:
        """Introduce the data-root, as a daemon that starts."""
        maps = id_maps or IdMaps()
        ranges = {
            key: [{"container_id": r.container, "host_id": r.host, "size": r.size} for r in given]
            or None
            for key, given in (("UIDMaps", maps.uids), ("GIDMaps", maps.gids))
        }
        self._ask("Init", Home=os.fspath(self.layout.home), Opts=None, **ranges)

    def status(self) -> List[Tuple[str, str]]:
        return [(name, value) for name, value in self._ask("Status")["Status"]]

    def metadata(self, layer_id: LayerId) -> Dict[str, str]:
        found: Dict[str, str] = self._ask("GetMetadata", ID=layer_id)["Metadata"]
        return found

    def create(self, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        self._ask("Create", **_pair(layer_id, parent))

    def create_read_write(self, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        self._ask("CreateReadWrite", **_pair(layer_id, parent))

    def remove(self, layer_id: LayerId) -> None:
        """And wait until it has been deleted, which Docker does not."""
        self._ask("Remove", ID=layer_id)
        deadline = time.monotonic() + PATIENCE
        while (self.layout.home / f"{layer_id}-removing").exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def get(self, layer_id: LayerId, mount_label: str = "") -> Path:
        return Path(self._ask("Get", ID=layer_id, MountLabel=mount_label)["Dir"])

    def put(self, layer_id: LayerId) -> None:
        self._ask("Put", ID=layer_id)

    def exists(self, layer_id: LayerId) -> bool:
        return bool(self._ask("Exists", ID=layer_id)["Exists"])

    def cleanup(self) -> None:
        self._ask("Cleanup")

    def apply_diff(self, layer_id: LayerId, parent: Optional[LayerId], tar: BinaryIO) -> Applied:
        query = f"GraphDriver.ApplyDiff?id={layer_id}&parent={parent or ''}"
        connection = Connection(self._path)
        try:
            chunks = iter(lambda: tar.read(_CHUNK), b"")
            answer = connection.send_raw(query, chunks, chunked=True)
        finally:
            connection.close()
        return Applied(size=_checked(answer).get("Size", 0), entries=0)

    def diff(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> Iterator[bytes]:
        assert not docker
        connection = Connection(self._path)
        body = json.dumps(_pair(layer_id, parent))
        connection.request("POST", "/GraphDriver.Diff", body=body)
        response = connection.getresponse()
        if response.status != 200:
            refused = Answer(response.status, response.read())
            connection.close()
            raise _error(refused)
        return _chunks(connection, response)

    def changes(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = True
    ) -> List[Change]:
        assert docker
        found = self._ask("Changes", **_pair(layer_id, parent)).get("Changes", [])
        return [Change(each["Path"].encode(), ChangeKind(each["Kind"])) for each in found]

    def diff_size(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = True
    ) -> int:
        assert docker
        return int(self._ask("DiffSize", **_pair(layer_id, parent)).get("Size", 0))

    def _ask(self, name: str, **values: object) -> Dict[str, Any]:
        connection = Connection(self._path)
        try:
            return _checked(connection.ask(f"GraphDriver.{name}", values))
        finally:
            connection.close()


def _pair(layer_id: LayerId, parent: Optional[LayerId]) -> Dict[str, object]:
    return {"ID": layer_id, **({"Parent": parent} if parent else {})}


def _checked(answer: Answer) -> Dict[str, Any]:
    if answer.values.get("Err"):
        raise _error(answer)
    assert answer.status == 200
    return answer.values


def _error(answer: Answer) -> PluginError:
    """All is in one text, the details as well."""
    text = answer.values["Err"]
    return PluginError(text, details=text)


def _chunks(connection: Connection, response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (http.client.IncompleteRead, ConnectionError) as err:
                raise PluginError("the plugin broke off, maybe the layer was removed") from err
            if not chunk:
                return
            yield chunk
    finally:
        connection.close()
