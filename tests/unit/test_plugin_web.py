"""The plugin's HTTP: whatever comes is answered or cut, is counted, and harms nobody.

Here without a data-root, which needs no privileges.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple

import pytest

pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")

from ovl1.plugin.calls import Call, Metrics
from ovl1.plugin.handlers import CALLS, Plugin
from ovl1.plugin.listening import listening
from ovl1.plugin.server import serving
from ovl1.plugin.web import Exchange, MetricsSite, PluginSite
from tests.support.plugin_client import Answer, Connection

ID = "ab" * 32
# As dockerd 20.10.24 of Debian sends it, to the byte.
RAW = (
    b"POST /GraphDriver.Get HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"
    b"Content-Length: %d\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n%s"
)


class Site(NamedTuple):
    path: Path
    calls: List[Call]
    metrics: Metrics
    failures: List[str]

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        connection = Connection(self.path)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, call: str, values: object = None, *, method: str = "POST") -> Answer:
        with self.connection() as connection:
            return connection.ask(call, values, method=method)

    def failed(self, name: str) -> Call:
        """The first call of that name that failed, as it was told to whoever watches."""
        deadline = time.monotonic() + 5
        while True:
            for call in self.calls:
                if call.name == name and call.error:
                    return call
            # It is told after the answer.
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def send(self, data: bytes) -> bytes:
        """Bytes as they are; what comes back until the connection is closed."""
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(10)
            raw.connect(os.fspath(self.path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                raw.sendall(data)
                raw.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while True:
                    piece = raw.recv(65536)
                    if not piece:
                        break
                    answer += piece
            return answer


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        yield Path(name, "x.sock")


@pytest.fixture
def site(path: Path, tmp_path: Path) -> Iterator[Site]:
    made = Site(path, [], Metrics(), [])
    with listening(path) as sock, Plugin(
        "overlay", path, failed=lambda err: made.failures.append(str(err)), state=tmp_path / "run"
    ) as plugin, serving(
        sock, PluginSite(plugin, made.metrics, made.calls.append), failed=made.failures.append
    ):
        yield made
        assert made.ask("Plugin.Activate").values == {"Implements": ["GraphDriver"]}
    assert made.failures == []


def test_any_daemon_may_ask_what_it_is(site: Site) -> None:
    with site.connection() as connection:
        for _ in range(3):
            answer = connection.send_raw("Plugin.Activate", b"")
            assert answer.values == {"Implements": ["GraphDriver"]}


def test_capabilities_are_nested(site: Site) -> None:
    answer = site.ask("GraphDriver.Capabilities")
    assert answer.values == {"Capabilities": {"ReproducesExactDiffs": False}}


@pytest.mark.parametrize("call", sorted({*CALLS, "GraphDriver.Diff"}))
def test_before_a_daemon_has_introduced_itself(site: Site, call: str) -> None:
    if call in ("Plugin.Activate", "GraphDriver.Capabilities", "GraphDriver.Init"):
        return
    answer = site.ask(call, {"ID": ID})
    assert "Init" in answer.values["Err"]
    assert answer.status == (500 if call == "GraphDriver.Diff" else 200)
    assert "Init" in site.failed(call).error


def test_a_request_byte_for_byte(site: Site) -> None:
    body = b'{"ID":"%s","MountLabel":""}\n' % ID.encode()
    answer = site.send(RAW % (len(body), body))
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: application/vnd.docker.plugins.v1.2+json" in head
    assert "Init" in json.loads(said)["Err"]


def test_what_is_no_call(site: Site) -> None:
    for path in ("GraphDriver.Nothing", "VolumeDriver.List", "", "../etc/passwd", "%2e%2e/x"):
        answer = site.ask(path)
        assert answer.status == 404
        assert answer.values["Err"]
    for method in ("GET", "PUT", "DELETE"):
        assert site.ask("GraphDriver.Status", method=method).status == 405


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"\xff\xfe", b"{}" * 9, b"[" * 100_000),
        *(b'{"ID":5}', b'{"ID":"../.."}', b'{"ID":"%s/x"}' % ID.encode(), b'{"ID":""}'),
        *(b'{"ID":null}', b'{"ID":"' + b"a" * 10**6 + b'"}'),
    ],
    ids=range(12),
)
def test_what_is_no_request(site: Site, body: bytes) -> None:
    for call in ("GraphDriver.Remove", "GraphDriver.Diff", "GraphDriver.CreateReadWrite"):
        with site.connection() as connection:
            answer = connection.send_raw(call, body)
            # Or there is nothing yet that could be removed.
            assert answer.status == 400 or "Init" in answer.values["Err"]
            assert site.failed(call).error
            # It stays in step.
            assert connection.ask("Plugin.Activate").status == 200


def test_a_body_longer_than_any(site: Site) -> None:
    body = b'{"ID":"%s","x":"%s"}' % (ID.encode(), b"x" * (3 << 20))
    with site.connection() as connection, contextlib.suppress(
        BrokenPipeError, ConnectionResetError
    ):
        answer = connection.send_raw("GraphDriver.Get", body)
        assert answer.status == 400
        assert "longer" in answer.values["Err"]
    call = site.failed("GraphDriver.Get")
    assert "longer" in call.error
    assert call.received < 3 << 20


HEAD = b"POST /GraphDriver.%s HTTP/1.1\r\nHost:\r\n"
HOSTILE = {
    "huge chunk": HEAD % b"Get" + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\nxxx",
    "no chunk": HEAD % b"Get" + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxxx",
    "negative chunk": HEAD % b"Get" + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nxxx",
    "cut chunk": HEAD % b"Get" + b"Transfer-Encoding: chunked\r\n\r\n10\r\nxxx",
    "no last chunk": HEAD % b"Get" + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "huge length": HEAD % b"Get" + b"Content-Length: 99999999999999\r\n\r\n{}",
    "negative length": HEAD % b"Get" + b"Content-Length: -1\r\n\r\n{}",
    "negative length, as a tar": HEAD % b"ApplyDiff?id=x" + b"Content-Length: -7\r\n\r\n{}",
    "no length": HEAD % b"Get" + b"Content-Length: many\r\n\r\n{}",
    "cut body": HEAD % b"Get" + b"Content-Length: 50\r\n\r\n{}",
    "cut headers": HEAD % b"Get" + b"Content-Len",
    "endless headers": HEAD % b"Get" + b"X: y\r\n" * 50_000 + b"\r\n",
    "endless line": b"POST /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "no http": b"\0\1\2\3" * 100,
    "other http": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "nothing": b"",
    "lines": b"\r\n" * 1000,
    "other coding": HEAD % b"Get" + b"Transfer-Encoding: gzip\r\n\r\n{}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_http(site: Site, name: str) -> None:
    answer = site.send(HOSTILE[name])
    assert not answer.startswith(b"HTTP/1.1 2")


def test_a_client_that_goes_away(site: Site) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(os.fspath(site.path))
            raw.sendall(HEAD % b"Get" + b"Content-Length: 50\r\n\r\n{")


def test_counters_are_served(site: Site) -> None:
    site.ask("GraphDriver.Get", {"ID": ID})
    text = site.ask("/metrics", method="GET").body.decode()
    assert 'ovl1_plugin_calls_total{call="GraphDriver.Get",outcome="failed"} 1' in text
    site.ask("nothing\u202e".encode("ascii", "ignore").decode())
    assert 'call="other"' in site.ask("/metrics", method="GET").body.decode()


def test_counters_elsewhere_are_all_there_is(path: Path) -> None:
    with listening(path) as sock, serving(sock, MetricsSite(Metrics()), failed=pytest.fail):
        for call, method, status in (
            ("/metrics", "GET", 200),
            ("/", "GET", 404),
            ("GraphDriver.Init", "POST", 404),
            ("Plugin.Activate", "POST", 404),
        ):
            connection = Connection(path)
            assert connection.ask(call, {"Home": "/x"}, method=method).status == status
            connection.close()


def answered(exchange: Exchange) -> None:
    exchange.answer("200 OK", "text/plain", b"{}")


def test_calls_never_wait_for_a_thread(path: Path) -> None:
    """One's answer may be the other's request."""
    meeting = threading.Barrier(40, timeout=20)

    def meet(exchange: Exchange) -> None:
        meeting.wait()
        answered(exchange)

    def ask() -> None:
        connection = Connection(path)
        done.append(connection.ask("x").status)
        connection.close()

    done: List[int] = []
    with listening(path) as sock, serving(sock, meet, failed=pytest.fail):
        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert done == [200] * 40


def test_an_idle_connection_is_kept(path: Path, full: bool) -> None:
    """Longer than the server's own timeouts, in the full form."""
    with listening(path) as sock, serving(sock, answered, failed=pytest.fail):
        connection = Connection(path)
        for _ in range(2):
            assert connection.ask("x").status == 200
            assert connection.sock.fileno() > 0
            time.sleep(13 if full else 0.3)
        assert connection.ask("x").status == 200
        connection.close()


class Stopping(NamedTuple):
    """A call that is in progress while its server stops."""

    answers: List[object]
    seconds: float


def stopped_meanwhile(path: Path, work: float, patience: float) -> Stopping:
    begun = threading.Event()

    def slow(exchange: Exchange) -> None:
        begun.set()
        time.sleep(work)
        answered(exchange)

    def ask() -> None:
        connection = Connection(path)
        try:
            answers.append(connection.ask("x").status)
        except (OSError, ValueError) as err:
            answers.append(err)
        connection.close()

    answers: List[object] = []
    thread = threading.Thread(target=ask)
    with listening(path) as sock, contextlib.ExitStack() as stack:
        stack.enter_context(serving(sock, slow, failed=pytest.fail, patience=patience))
        idle = Connection(path)
        idle.connect()
        thread.start()
        begun.wait()
        began = time.monotonic()
    thread.join()
    idle.close()
    return Stopping(answers, time.monotonic() - began)


def test_a_call_in_progress_is_finished(path: Path) -> None:
    stopping = stopped_meanwhile(path, work=0.3, patience=10)
    assert stopping.answers == [200]
    assert 0.1 < stopping.seconds < 5


def test_but_not_waited_for_for_ever(path: Path) -> None:
    stopping = stopped_meanwhile(path, work=0.7, patience=0.1)
    assert stopping.answers != [200]
