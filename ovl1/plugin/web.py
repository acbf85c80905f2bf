"""Requests of HTTP as calls of the protocol, and what comes of them as answers.

A call that failed is answered with 200 and ``Err``, which Docker shows as it is; only where a tar
is expected (``Diff``), and for what is no request at all, with another status. A tar that breaks
off after its first bytes has no other way to say so than to break off the connection.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import itertools
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Optional, Protocol

from ovl1.errors import OvlError
from ovl1.plugin.body import Body, ClientGone
from ovl1.plugin.calls import Call, Metrics, Watcher
from ovl1.plugin.handlers import APPLY_DIFF, CALLS, DIFF, Plugin
from ovl1.plugin.protocol import (
    CONTENT_TYPE,
    MAX_BODY,
    TAR_TYPE,
    BadRequest,
    Fields,
    described,
    encoded,
    failure,
)

_OK, _BAD, _NOT_FOUND, _NOT_ALLOWED, _FAILED = (
    "200 OK",
    "400 Bad Request",
    "404 Not Found",
    "405 Method Not Allowed",
    "500 Internal Server Error",
)
_PIECE = 1 << 16
_NO_LIMIT = 1 << 62
_METRICS = "/metrics"


class Begin(Protocol):
    """Sends status and headers; without a length the body is chunked."""

    def __call__(
        self, status: str, content_type: str, length: Optional[int], *, close: bool
    ) -> None:
        """Raises `OSError` if the client has gone."""


@dataclass
class Exchange:
    """A request, and the way to answer it."""

    method: str
    path: str
    query: str
    stream: Any
    """See `ovl1.plugin.body.Body`."""
    chunked: bool
    begin: Begin
    write: Callable[[bytes], None]

    def answer(self, status: str, content_type: str, body: bytes, *, close: bool = False) -> None:
        """Send a whole answer."""
        self.begin(status, content_type, len(body), close=close)
        self.write(body)


class PluginSite:
    """Answers what Docker asks, and ``GET /metrics``; an `Application` of the server."""

    def __init__(self, plugin: Plugin, metrics: Metrics, watch: Watcher) -> None:
        self._plugin = plugin
        self._metrics = metrics
        self._watch = watch

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.path == _METRICS and exchange.method == "GET":
            answer_metrics(self._metrics, exchange)
            return
        name = exchange.path.lstrip("/")
        call = Call(name if name in {*CALLS, DIFF, APPLY_DIFF} else "other")
        body = Body(exchange.stream, chunked=exchange.chunked)
        began = time.monotonic()
        try:
            self._answer(exchange, body, call)
        except (OvlError, OSError) as err:
            call.error = call.error or described(err)
            # Nothing more can be said to the client; the server cuts the connection.
            raise ConnectionAbortedError(errno.ECONNABORTED, call.error) from err
        finally:
            call.seconds = time.monotonic() - began
            call.received = body.received
            self._metrics(call)
            self._watch(call)

    def _answer(self, exchange: Exchange, body: Body, call: Call) -> None:
        if call.name == "other":
            self._refuse(exchange, body, call, _NOT_FOUND, f"there is no call {exchange.path[:80]}")
        elif exchange.method != "POST":
            self._refuse(exchange, body, call, _NOT_ALLOWED, f"{exchange.method[:20]} is no call")
        elif call.name == APPLY_DIFF:
            self._apply_diff(exchange, body, call)
        elif call.name == DIFF:
            self._diff(exchange, body, call)
        else:
            self._call(exchange, body, call)

    def _call(self, exchange: Exchange, body: Body, call: Call) -> None:
        with self._failing(exchange, body, call):
            values = self._plugin.call(call.name, self._fields(body, call))
            self._reply(exchange, call, _OK, encoded(values))

    def _apply_diff(self, exchange: Exchange, body: Body, call: Call) -> None:
        fields = Fields.of_query(exchange.query)
        call.about = str(fields.values["ID"])
        failing = functools.partial(self._failing, exchange, body, call, drain=_NO_LIMIT)
        with failing(), self._plugin.applying(fields), failing():
            with io.BufferedReader(body, _PIECE) as tar:
                values = self._plugin.apply_diff(fields, tar)
            body.drain(_NO_LIMIT)
            self._reply(exchange, call, _OK, encoded(values))

    def _diff(self, exchange: Exchange, body: Body, call: Call) -> None:
        with self._failing(exchange, body, call, status=_FAILED):
            chunks = self._plugin.diff(self._fields(body, call))
            pieces = _pieces(chunks)
            # Whether it can be made at all must be known before the status is sent.
            first = next(pieces, b"")
            call.status = 200
            exchange.begin(_OK, TAR_TYPE, None, close=False)
            for piece in itertools.chain([first], pieces):
                exchange.write(piece)
                call.sent += len(piece)

    def _fields(self, body: Body, call: Call) -> Fields:
        whole = body.whole()
        if not whole and call.name == "Plugin.Activate":
            whole = b"{}"
        fields = Fields.parse(whole)
        call.about = str(fields.values.get("ID") or fields.values.get("Home") or "")[:200]
        return fields

    @contextlib.contextmanager
    def _failing(
        self,
        exchange: Exchange,
        body: Body,
        call: Call,
        *,
        status: str = _OK,
        drain: int = MAX_BODY,
    ) -> Iterator[None]:
        """Answer for a block that fails before it has answered itself, with `status` if it can."""
        try:
            yield
        except ClientGone:
            raise
        except Exception as err:
            call.error = described(err)
            if call.status:
                raise
            if isinstance(err, BadRequest):
                status = _BAD
            elif not isinstance(err, (OvlError, OSError)):
                status = _FAILED
            self._reply(exchange, call, status, encoded(failure(err)), close=not body.drain(drain))

    def _refuse(self, exchange: Exchange, body: Body, call: Call, status: str, why: str) -> None:
        call.error = why
        read = body.drain(MAX_BODY)
        self._reply(exchange, call, status, encoded({"Err": why}), close=not read)

    def _reply(
        self, exchange: Exchange, call: Call, status: str, body: bytes, *, close: bool = False
    ) -> None:
        call.status = int(status[:3])
        call.sent = len(body)
        exchange.answer(status, CONTENT_TYPE, body, close=close)


class MetricsSite:
    """Answers ``GET /metrics`` alone: for a place that is not for root alone."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        body = Body(exchange.stream, chunked=exchange.chunked)
        if exchange.method == "GET" and exchange.path == _METRICS and body.drain(MAX_BODY):
            answer_metrics(self._metrics, exchange)
        else:
            exchange.answer(_NOT_FOUND, Metrics.CONTENT_TYPE, b"see /metrics\n", close=True)


def answer_metrics(metrics: Metrics, exchange: Exchange) -> None:
    """Send all counters."""
    exchange.answer(_OK, Metrics.CONTENT_TYPE, metrics.text().encode())


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a system call each."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        if len(buffer) >= _PIECE:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
