"""The body of a request, as a stream that never ends too early without saying so."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ovl1.errors import OvlError
from ovl1.plugin.protocol import MAX_BODY, BadRequest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 17


class ClientGone(OvlError):
    """The connection broke in the middle of a request."""


class Body(io.RawIOBase):
    """What the HTTP server gives of a body, chunked or of a known length.

    Reading raises `ClientGone` if the client went away before its end, or sent what is no HTTP.

    Args:
        stream: the server's own reader, cheroot's `ChunkedRFile` or `KnownLengthRFile`.
    """

    def __init__(self, stream: Any, *, chunked: bool) -> None:
        super().__init__()
        self._stream = stream
        self._chunked = chunked
        self._ended = False
        self.received = 0
        """Bytes that have been read."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(buffer).cast("B")
        data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def whole(self) -> bytes:
        """All of a request in JSON.

        Raises:
            BadRequest: it is longer than any.
        """
        data = b""
        while len(data) <= MAX_BODY:
            piece = self._read(MAX_BODY + 1 - len(data))
            if not piece:
                return data
            data += piece
        raise BadRequest(f"the request is longer than {MAX_BODY} bytes")

    def drain(self, most: int) -> bool:
        """Read what the client still sends, so that it listens to the answer; whether all was read.

        Args:
            most: bytes after which to give up.
        """
        if self._is_nonsense:
            return False
        while not self._ended and most > 0:
            most -= len(self._read(_PIECE))
        return self._ended

    def _read(self, size: int) -> bytes:
        if self._ended or not size:
            return b""
        if self._is_nonsense:
            raise BadRequest("the request's length is negative")
        try:
            data: bytes = self._stream.read(min(size, _PIECE))
            if not data:
                self._end()
        except (ValueError, OSError) as err:
            raise ClientGone(f"the client broke off: {err}") from err
        self.received += len(data)
        return data

    @property
    def _is_nonsense(self) -> bool:
        return not self._chunked and self._stream.remaining < 0

    def _end(self) -> None:
        if self._chunked:
            # What may follow the last chunk, and the empty line that ends it all.
            for _ in self._stream.read_trailer_lines():
                pass
        elif self._stream.remaining:
            raise ClientGone(f"the client broke off: {self._stream.remaining} bytes are missing")
        self._ended = True
