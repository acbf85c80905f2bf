"""Changing, adding or removing one value inside JSON text without touching another byte.

Parsing and printing again would reorder keys, round numbers and change white space; a daemon's
configuration must survive even where we do not understand it. Bytes are mapped to characters one
to one (Latin-1), so that positions are byte offsets; all of JSON's structure is ASCII.
"""

from __future__ import annotations

import json
from typing import Iterator, List, NamedTuple, NoReturn, Optional, Tuple

from ovl1.errors import BrokenStore

_SPACE = " \t\n\r"


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no value")


# Numbers are only skipped: they stay text, whatever their size.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_json)


class _Member(NamedTuple):
    """A top-level key, and where it and its value lie."""

    name: str
    at: int
    start: int
    end: int


def replace_value(text: bytes, key: str, old: str, new: str) -> bytes:
    """Replace the string value of a top-level key.

    Args:
        key: compared without regard to case to find duplicates, as Go's decoder would take them.

    Raises:
        BrokenStore: not a JSON object, no such key (or several), or its value is not `old`.
    """
    found = _one(_members(text), key)
    if found is None:
        raise BrokenStore(f"there are 0 keys {key!r} instead of one")
    value = _value(text.decode("latin-1"), found.start)[0]
    if value != old:
        raise BrokenStore(f"{key!r} is {value!r}, not {old!r}")
    return _with(text, found, new)


def set_value(text: bytes, key: str, new: str) -> bytes:
    """Give a top-level key this string value; one that is missing comes last.

    Raises:
        BrokenStore: not a JSON object, or the key is there more than once.
    """
    members = _members(text)
    found = _one(members, key)
    if found is not None:
        return _with(text, found, new)
    member = _quoted(key) + b": " + _quoted(new)
    if not members:
        at = text.index(b"{") + 1
        return text[:at] + b"\n    " + member + b"\n" + text[at:].lstrip()
    # Set apart as the first one is from the brace, or as others are from each other.
    space = text[text.index(b"{") + 1 : members[0].at] or b" "
    end = members[-1].end
    return text[:end] + b"," + space + member + text[end:]


def remove_value(text: bytes, key: str) -> bytes:
    """Remove a top-level key; one that is missing is fine.

    Raises:
        BrokenStore: not a JSON object, or the key is there more than once.
    """
    members = _members(text)
    found = _one(members, key)
    if found is None:
        return text
    index = members.index(found)
    if index:
        return text[: members[index - 1].end] + text[found.end :]
    following = members[1].at if len(members) > 1 else found.end
    return text[: found.at] + text[following:]


def _one(members: List[_Member], key: str) -> Optional[_Member]:
    found = [member for member in members if member.name.lower() == key.lower()]
    if len(found) > 1 or (found and found[0].name != key):
        raise BrokenStore(f"there are {len(found)} keys {key!r} instead of one")
    return found[0] if found else None


def _with(text: bytes, member: _Member, new: str) -> bytes:
    return text[: member.start] + _quoted(new) + text[member.end :]


def _quoted(text: str) -> bytes:
    return json.dumps(text).encode("ascii")


def _members(text: bytes) -> List[_Member]:
    return list(_parsed(text.decode("latin-1")))


def _parsed(text: str) -> Iterator[_Member]:
    at = _expect(text, _skip(text, 0), "{")
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        at += 1
    else:
        while True:
            _expect(text, at, '"')
            name, end = _value(text, at)
            start = _skip(text, _expect(text, _skip(text, end), ":"))
            _, end = _value(text, start)
            yield _Member(str(name), at, start, end)
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
