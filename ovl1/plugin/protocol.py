"""The words of Docker's graphdriver plugin protocol: what a request says, how an answer looks.

JSON objects of a few known keys (moby: daemon/graphdriver/proxy.go), which go missing when they are
empty, as Go leaves them out. Keys that are not known are passed over, as Docker does with ours.
Nothing here is done: whoever asks has been understood, not obeyed.
"""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ovl1.errors import BrokenStore, OvlError, WrongUsage
from ovl1.model import Change, IdMaps, IdRange, LayerId

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
TAR_TYPE = "application/x-tar"
MAX_BODY = 1 << 20
"""Bytes of a JSON request; Docker's have a few hundred."""

_MAX_ID = 0xFFFFFFFF
_RANGE = ("container_id", "host_id", "size")


class BadRequest(WrongUsage):
    """What came is no request of this protocol."""


@dataclass(frozen=True)
class Fields:
    """The keys of a request, each checked when it is asked for; all raise `BadRequest`."""

    values: Mapping[str, Any]

    @classmethod
    def parse(cls, body: bytes) -> Fields:
        """The JSON object in the body of a request.

        Docker repeats a request whose connection broke with nothing in its body, so that an empty
        one must be no request.
        """
        try:
            values = json.loads(body)
        except (ValueError, RecursionError) as err:
            raise BadRequest(f"the request is not JSON: {err}") from err
        if not isinstance(values, dict):
            raise BadRequest("the request is not a JSON object")
        return cls(values)

    @classmethod
    def of_query(cls, query: str) -> Fields:
        """What ``ApplyDiff`` says behind the question mark, with the names that it has in JSON."""
        found = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        return cls({"ID": found.get("id", ""), "Parent": found.get("parent", "")})

    def text(self, key: str) -> str:
        """A string; empty if it is missing."""
        return _text(self.values.get(key) or "", key)

    def texts(self, key: str) -> List[str]:
        """A list of strings; empty if it is missing."""
        return [_text(value, key) for value in self._items(key)]

    @property
    def layer_id(self) -> LayerId:
        """``ID``, which every request about a layer has."""
        if not self.text("ID"):
            raise BadRequest("the request names no layer: its ID is empty")
        return _layer_id(self.text("ID"))

    @property
    def parent(self) -> Optional[LayerId]:
        """``Parent``, if the layer has one."""
        return _layer_id(self.text("Parent")) if self.text("Parent") else None

    @property
    def id_maps(self) -> IdMaps:
        """``UIDMaps`` and ``GIDMaps``; empty without user namespaces."""
        return IdMaps(self._ranges("UIDMaps"), self._ranges("GIDMaps"))

    @property
    def storage_options(self) -> List[str]:
        """The names in ``StorageOpt``."""
        options = self.values.get("StorageOpt") or {}
        if not isinstance(options, dict):
            raise BadRequest("StorageOpt must be an object")
        return sorted(_text(name, "StorageOpt") for name in options)

    def _ranges(self, key: str) -> Tuple[IdRange, ...]:
        found = []
        for item in self._items(key):
            numbers = item if isinstance(item, dict) else {}
            values: List[Any] = [numbers.get(name) for name in _RANGE]
            if not all(type(value) is int and 0 <= value <= _MAX_ID for value in values):
                raise BadRequest(f"{key} must hold objects of {', '.join(_RANGE)}")
            found.append(IdRange(*values))
        return tuple(found)

    def _items(self, key: str) -> Sequence[Any]:
        items = self.values.get(key) or ()
        if not isinstance(items, (list, tuple)):
            raise BadRequest(f"{key} must be a list")
        return items


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{key} must be a string")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise BadRequest(f"{key} holds characters that no name can have")
    return value


def _layer_id(text: str) -> LayerId:
    try:
        layer_id = LayerId.parse(text)
    except BrokenStore as err:
        raise BadRequest(err.brief) from err
    if layer_id != text:
        raise BadRequest(f"{text[:100]!r} is not a layer id")
    return layer_id


def encoded(values: Mapping[str, object]) -> bytes:
    """An answer, as Go writes it."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def failure(error: BaseException) -> Dict[str, str]:
    """The answer that says why not, in one line: Docker puts it into a line of its own."""
    return {"Err": described(error)}


def described(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OvlError):
        parts = [error.brief, error.details, error.resolution]
        return ". ".join("; ".join(part.splitlines()).rstrip(".") for part in parts if part)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror[0].lower()}{error.strerror[1:]}{where}"
    return f"{type(error).__name__}: {error}"


def change_values(changes: Sequence[Change]) -> List[Dict[str, object]]:
    """Changes as ``Changes`` answers them; a byte that is no UTF-8 becomes U+FFFD, as in Go."""
    return [
        {"Path": change.path.decode("utf-8", "replace"), "Kind": int(change.kind)}
        for change in changes
    ]
