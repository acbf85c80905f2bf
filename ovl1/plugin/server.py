"""HTTP for the plugin: cheroot, with a thread for each connection (its only importer).

Docker keeps a connection or two, and opens more while calls overlap; the answer to one may be the
request of another, so that there must never be a call that waits for a thread. An idle connection
is never closed while we live: a request that met it there would be repeated, without its body.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable, Iterator, Optional, Set

from cheroot import server as cheroot

from ovl1.plugin.web import Exchange

_PATIENCE = 30.0
_MOST_PIECE = 16 << 20
"""Bytes of one chunk of a chunked body, which cheroot holds in memory; Docker's have 32 KiB."""
_MOST_HEADERS = 64 << 10
_BUFFER = 1 << 16

Application = Callable[[Exchange], None]


@contextlib.contextmanager
def serving(
    sock: socket.socket,
    application: Application,
    *,
    failed: Callable[[str], None],
    patience: float = _PATIENCE,
) -> Iterator[None]:
    """Answer requests that come to a listening socket, in threads, for the time of the block.

    At the end no new call is taken on, and those in progress are waited for.

    Args:
        application: answers one request; called by many threads at once.
        failed: is told what the server itself has met with.
        patience: seconds to wait for calls at the end. Then their connections are cut, and they
            fail as if the client had gone.
    """
    server = _Server(sock, application, failed, patience)
    server.prepare()
    thread = threading.Thread(target=server.serve, name="server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join()


class _Server(cheroot.HTTPServer):  # type: ignore[misc]
    keep_alive_conn_limit = None
    max_request_header_size = _MOST_HEADERS
    request_queue_size = 128
    expiration_interval = 0.1  # How long stopping may take to be noticed.

    def __init__(
        self,
        sock: socket.socket,
        application: Application,
        failed: Callable[[str], None],
        patience: float,
    ) -> None:
        # Any string says that it is a unix socket, which `bind_unix_socket` makes.
        super().__init__("unix", _Gateway)
        self.ConnectionClass = _Connection
        self.application = application
        self.requests = _Threads(self)
        self.shutdown_timeout = patience
        self._sock = sock
        self._failed = failed

    def bind_unix_socket(self, _bind_addr: str) -> None:
        """Use ours: cheroot's would be open to everybody."""
        self.socket = self._sock

    def error_log(self, msg: str = "", level: int = 20, **_more: object) -> None:
        """Instead of printing."""
        if level > 20:
            self._failed(msg)


class _Threads:
    """What cheroot takes for a pool: a thread for each connection, from its begin to its end."""

    min = 1
    idle = 0
    qsize = 0

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._connections: Set[_Connection] = set()
        self._ended = threading.Condition(self._lock)

    def start(self) -> None:
        """Nothing to do."""

    def put(self, connection: _Connection) -> None:
        """Serve a new connection."""
        with self._lock:
            self._connections.add(connection)
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def stop(self, patience: float) -> None:
        """Wait until all calls have been answered; then end what has not."""
        deadline = time.monotonic() + patience
        self._shut(socket.SHUT_RD, idle_only=True)
        with self._ended:
            while self._connections:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._ended.wait(left)
        self._shut(socket.SHUT_RDWR, idle_only=False)
        with self._ended:
            self._ended.wait_for(lambda: not self._connections, timeout=5)

    def _serve(self, connection: _Connection) -> None:
        try:
            while connection.communicate() and self._server.ready:
                pass
        except OSError:
            pass  # Who has gone away needs no answer.
        finally:
            with contextlib.suppress(OSError):
                connection.close()
            with self._ended:
                self._connections.discard(connection)
                self._ended.notify_all()

    def _shut(self, how: int, *, idle_only: bool) -> None:
        with self._lock:
            for connection in self._connections:
                if not (idle_only and connection.busy):
                    with contextlib.suppress(OSError):
                        connection.socket.shutdown(how)


class _Connection(cheroot.HTTPConnection):  # type: ignore[misc]
    busy = False
    """Whether a request is being answered."""

    def __init__(self, server: _Server, sock: socket.socket, _makefile: Any = None) -> None:
        super().__init__(server, sock, _stream)
        sock.settimeout(None)


def _stream(sock: socket.socket, mode: str, _size: int) -> Any:
    if "r" in mode:
        return _Reader(sock)
    return _Writer(sock)


class _Reader:
    """The read side: C's buffers instead of Python's, which cheroot has for the sake of TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", _BUFFER)
        self.readline = self._file.readline
        self.close = self._file.close

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        if not 0 <= size <= _MOST_PIECE:
            raise ValueError(f"{size} bytes in one piece are too many")
        data: bytes = self._file.read(size)
        return data


class _Writer:
    def __init__(self, sock: socket.socket) -> None:
        self.write = sock.sendall


class _Gateway(cheroot.Gateway):  # type: ignore[misc]
    def respond(self) -> None:
        """Let the application answer."""
        request = self.req
        request.conn.busy = True
        try:
            request.server.application(_exchange(request))
        finally:
            request.conn.busy = False


def _exchange(request: Any) -> Exchange:
    def begin(status: str, content_type: str, length: Optional[int], *, close: bool) -> None:
        request.status = status.encode("ascii")
        request.outheaders = [(b"Content-Type", content_type.encode("ascii"))]
        if length is not None:
            request.outheaders.append((b"Content-Length", b"%d" % length))
        request.close_connection |= close
        request.ensure_headers_sent()

    return Exchange(
        method=request.method.decode("latin-1"),
        path=request.path.decode("latin-1"),
        query=request.qs.decode("latin-1"),
        stream=request.rfile,
        chunked=request.chunked_read,
        begin=begin,
        write=request.write,
    )
