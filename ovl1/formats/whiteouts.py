"""What a name in a layer's tar means: a path to create, or one to hide.

The rules are those of Docker's ``pkg/archive`` (``UnpackLayer``), which took them from AUFS, and
are applied to the name as Go's ``filepath.Clean`` leaves it. Stricter than Docker: a name that
leads out of the root, and the names ``.wh.``, ``.wh..`` and ``.wh...``, which would delete a
directory above the one they are in, are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Tuple, Union

from ovl1.errors import LayerError

Parts = Tuple[bytes, ...]
"""A path below the layer's root; the root itself is ``()``."""

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_METADATA = b".wh..wh."
# linux/limits.h: NAME_MAX, and PATH_MAX less the NUL. Docker could not name more either.
_ODD = re.compile(rb"\A\Z|\A/|//|(?:\A|/)\.\.?(?:/|\Z)")
"""What makes a path differ from its shortest form, save for a slash at the end."""
_LONGEST_NAME, _LONGEST_PATH = 255, 4095


@dataclass(frozen=True)
class Plain:
    """The entry is what it seems."""

    parts: Parts


@dataclass(frozen=True)
class Whiteout:
    """Whatever is at `parts` is to be removed."""

    parts: Parts


@dataclass(frozen=True)
class Opaque:
    """What lower layers have in the directory `parts` is to be removed."""

    parts: Parts


@dataclass(frozen=True)
class AufsMetadata:
    """AUFS's own book-keeping, as at ``.wh..wh.plnk``: nothing of the layer's content."""

    parts: Parts


Meaning = Union[Plain, Whiteout, Opaque, AufsMetadata]


def classify(name: bytes) -> Meaning:
    """What the entry `name` of a layer's tar asks for.

    Raises:
        LayerError: the name leads out of the root, or hides nothing that could be hidden.
    """
    cleaned = clean(name)
    parts = _components(cleaned, name)
    if cleaned.startswith(_METADATA) and cleaned != OPAQUE:
        return AufsMetadata(parts)
    if not parts or not parts[-1].startswith(PREFIX):
        return Plain(parts)
    if parts[-1] == OPAQUE:
        return Opaque(parts[:-1])
    hidden = parts[-1][len(PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise LayerError(
            f"the layer has a whiteout of nothing: {shown(name)}",
            details="Followed literally, it would delete a directory above its own.",
        )
    return Whiteout((*parts[:-1], hidden))


def components(name: bytes) -> Parts:
    """The path that `name` leads to, seen from the root; ``./a//b/../c`` is ``(a, c)``.

    Raises:
        LayerError: it leads out of the root, is too long for Linux, or has a NUL byte.
    """
    return _components(clean(name), name)


def _components(cleaned: bytes, name: bytes) -> Parts:
    parts = () if cleaned == b"." else tuple(cleaned.lstrip(b"/").split(b"/"))
    if parts == (b"",):
        parts = ()
    if parts and parts[0] == b"..":
        raise LayerError(f"the layer has a name that leads out of it: {shown(name)}")
    if _too_long(cleaned, parts) or b"\0" in cleaned:
        raise LayerError(f"the layer has a name that Linux cannot have: {shown(name[:200])}")
    return parts


def _too_long(cleaned: bytes, parts: Parts) -> bool:
    if len(cleaned) <= _LONGEST_NAME:
        return False
    *above, last = parts
    # The name of a whiteout is made of the longest name, too, and is never that of a file.
    hidden = last[len(PREFIX) :] if last.startswith(PREFIX) else last
    return len(cleaned) > _LONGEST_PATH or any(
        len(part) > _LONGEST_NAME for part in (*above, hidden)
    )


def clean(name: bytes) -> bytes:
    """The shortest equivalent of a path, as Go's ``filepath.Clean`` defines it."""
    if not _ODD.search(name):
        return name[:-1] if name.endswith(b"/") else name
    rooted = name.startswith(b"/")
    kept: List[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            kept.append(part)
        elif kept and kept[-1] != b"..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    return (b"/" if rooted else b"") + b"/".join(kept) or b"."


def shown(name: bytes) -> str:
    """`name` in quotes, for a message; unprintable characters escaped."""
    return repr(name.decode("utf-8", "surrogateescape"))
