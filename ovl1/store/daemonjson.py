"""Docker's daemon.json: read, and changed in place of text, so that all else stays as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Mapping

from ovl1.errors import BrokenStore, Refused
from ovl1.store.jsontext import remove_value, set_value

DEFAULT = Path("/etc/docker/daemon.json")


def read(path: Path) -> bytes:
    """What the file holds; nothing if there is none, which is the same to Docker.

    Raises:
        Refused: it is no file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except (IsADirectoryError, NotADirectoryError):
        raise Refused(f"{path} is no file", resolution="Name Docker's daemon.json.") from None


def parsed(path: Path) -> Dict[str, Any]:
    """What the file says.

    Raises:
        Refused: it is no file, or no JSON object.
    """
    try:
        return values(read(path))
    except BrokenStore as err:
        raise Refused(
            f"{path} cannot be read as JSON",
            details=str(err),
            resolution="Mend it: with it Docker would not start either.",
        ) from err


def values(text: bytes) -> Dict[str, Any]:
    """What the text says; nothing if it is blank.

    Raises:
        BrokenStore: it is no JSON object.
    """
    if not text.strip():
        return {}
    remove_value(text, "")  # It is stricter than json, as Docker is.
    try:
        return dict(json.loads(text))
    except ValueError as err:
        raise BrokenStore(f"not JSON: {err}") from err


def changed(text: bytes, new: Mapping[str, str]) -> bytes:
    """The text with these values at its top level, everything else byte for byte as it was.

    Raises:
        BrokenStore: it is no JSON object, or has one of the keys more than once.
    """
    made = text if text.strip() else b"{}\n"
    for key, value in new.items():
        made = set_value(made, key, value)
    return made


def restored(text: bytes, before: bytes, keys: Mapping[str, str]) -> bytes:
    """A text that others have changed since, with the values of `keys` as `before` had them.

    Raises:
        BrokenStore: one of the texts is no JSON object.
    """
    old = values(before)
    made = text
    for key in keys:
        if isinstance(old.get(key), str):
            made = set_value(made, key, old[key])
        else:
            made = remove_value(made, key)
    return made
