"""Changing one value inside JSON text without touching another byte.

Parsing and printing again would reorder keys, round numbers and change white space; a daemon's
configuration must survive even where we do not understand it. Bytes are mapped to characters one
to one (Latin-1), so that positions are byte offsets; all of JSON's structure is ASCII.
"""

from __future__ import annotations

import json
from typing import Iterator, Tuple

from ovl1.errors import BrokenStore

_SPACE = " \t\n\r"
# Numbers are only skipped: they stay text, whatever their size.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def replace_value(text: bytes, key: str, old: str, new: str) -> bytes:
    """Replace the string value of a top-level key.

    Args:
        key: compared without regard to case to find duplicates, as Go's decoder would take them.

    Raises:
        BrokenStore: not a JSON object, no such key (or several), or its value is not `old`.
    """
    content = text.decode("latin-1")
    found = [item for item in _members(content) if item[0].lower() == key.lower()]
    if len(found) != 1 or found[0][0] != key:
        raise BrokenStore(f"there are {len(found)} keys {key!r} instead of one")
    _, start, end = found[0]
    value = json.loads(content[start:end])
    if value != old:
        raise BrokenStore(f"{key!r} is {value!r}, not {old!r}")
    return text[:start] + json.dumps(new).encode("ascii") + text[end:]


def _members(text: str) -> Iterator[Tuple[str, int, int]]:
    """Each top-level key with the start and end of its value."""
    at = _expect(text, _skip(text, 0), "{")
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        at += 1
    else:
        while True:
            _expect(text, at, '"')
            name, at = _value(text, at)
            start = _skip(text, _expect(text, _skip(text, at), ":"))
            _, end = _value(text, start)
            yield str(name), start, end
            at = _skip(text, end)
            if text[at : at + 1] == "}":
                at += 1
                break
            at = _skip(text, _expect(text, at, ","))
    if _skip(text, at) != len(text):
        raise BrokenStore("not JSON: there is something after the object")


def _value(text: str, at: int) -> Tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise BrokenStore(f"not JSON: {error}") from error


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _expect(text: str, at: int, character: str) -> int:
    if text[at : at + 1] != character:
        raise BrokenStore(f"not JSON: no {character!r} at byte {at}")
    return at + 1
