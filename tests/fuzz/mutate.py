"""Mutations of tar archives that still are tar archives.

A changed byte in a header makes its checksum wrong, and nothing behind the checksum would ever be
reached. So archives are taken apart into members, something is done to these, and all checksums
are put right again (but for a few). Nothing of the code under test is used.
"""

from __future__ import annotations

import random
from typing import Callable, List, Sequence

from tests.support import hostile_tar as t

Havoc = Callable[[bytes, int], bytes]
"""Changes bytes, to at most so many, without knowing what they mean."""

LARGEST = 1 << 16
"""Bytes of an input."""

_WITHOUT_CONTENT = b"123456"
_KINDS = (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x", b"g", b"L", b"K", b"S", b"\0", b"7")
_FIELDS = ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8))
"""Mode, owner, group, size, time, device: offset and width in bytes."""
_NUMBERS = (0, 1, 7, 0o777, 0o4755, 0o7777, 1000, 0xFFFFFFFF, 1 << 33, (1 << 63) - 1, -1)
_MAGICS = (t.USTAR, t.GNU, t.V7)
_XATTRS = (
    b"user.x", b"trusted.x", b"trusted.overlay.opaque", b"trusted.overlay.redirect",
    b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default",
)  # fmt: skip
_PLAIN = (
    b".", b"..", b"", b"/", b"a", b"x", b"etc", b"etc/passwd", b"data", b"data/sub", b"data/old",
    b"data/sub/deep", b"file", b"hard", b"to-dir", b"to-file", b"chain", b"absolute", b"inside",
    b"loop", b"dangling", b"pipe", b"canary", b"../canary", b"to-dir/old", b"absolute/sub",
)  # fmt: skip
_MARKS = (b".wh.", b".wh..wh..opq", b".wh..wh.plnk/1.2", b".wh.x", b".wh..", b".wh...", b"a", b"..")


def tar(data: bytes, most: int, rnd: random.Random, havoc: Havoc) -> bytes:
    """A variation of `data`, of at most `most` bytes."""
    if rnd.random() < 0.2:
        found = members(havoc(data, most))
    else:
        found = members(data)
        for _ in range(rnd.choice((1, 1, 2, 4))):
            rnd.choice(_WAYS)(found, rnd, havoc)
    if rnd.random() < 0.95:
        found = [t.summed(each[: t.BLOCK]) + each[t.BLOCK :] if whole(each) else each
                 for each in found]  # fmt: skip
    ending = t.END if rnd.random() < 0.95 else b""
    return (b"".join(found) + ending)[:most]


def members(data: bytes) -> List[bytes]:
    """Headers, each with its padded content; the last may be cut, what follows the end is lost."""
    found = []
    at = 0
    while at < len(data) and any(data[at : at + t.BLOCK]):
        block = data[at : at + t.BLOCK]
        size = 0 if block[156:157] in _WITHOUT_CONTENT else size_of(block)
        end = at + t.BLOCK + size + -size % t.BLOCK
        found.append(data[at:end])
        at = end
    return found


def whole(member: bytes) -> bool:
    return len(member) >= t.BLOCK


def size_of(block: bytes) -> int:
    """What a header says of the length of its content, in octal digits."""
    try:
        return max(0, int(block[124:136].strip(b"\0 ") or b"0", 8))
    except ValueError:
        return 0


def _drop(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    if found:
        del found[rnd.randrange(len(found))]


def _double(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    if found:
        found.insert(rnd.randrange(len(found) + 1), rnd.choice(found))


def _move(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    if found:
        found.insert(rnd.randrange(len(found)), found.pop(rnd.randrange(len(found))))


def _insert(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    kind = rnd.choice(_KINDS)
    data = b"d" * rnd.choice((0, 1, 600)) if kind in (b"0", b"\0", b"7") else b""
    made = t.member(name(rnd), kind, data, target=name(rnd), mode=rnd.choice((0o644, 0o4711)))
    found.insert(rnd.randrange(len(found) + 1), made)


def _extend(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    extra = rnd.choice(
        (
            t.xattr(rnd.choice(_XATTRS), rnd.choice((b"", b"y", b"v" * 20))),
            t.pax({b"path": name(rnd)}),
            t.pax({b"linkpath": name(rnd)}),
            t.long_name(name(rnd)),
            t.long_name(name(rnd), t.LONG_LINK),
            t.pax({b"mtime": rnd.choice((b"1.5", b"-1.5", b"9" * 11)), b"uid": b"70000"}),
        )
    )
    found.insert(rnd.randrange(len(found) + 1), extra)


def _rewrite(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    """Change one field of one header."""
    heads = [index for index, member in enumerate(found) if whole(member)]
    if not heads:
        return
    index = rnd.choice(heads)
    what = rnd.randrange(6)
    if what == 0:
        found[index] = _put(found[index], 0, name(rnd)[:100].ljust(100, b"\0"))
    elif what == 1:
        found[index] = _put(found[index], 157, name(rnd)[:100].ljust(100, b"\0"))
    elif what == 2:
        found[index] = _put(found[index], 156, rnd.choice(_KINDS))
    elif what == 3:
        at, width = rnd.choice(_FIELDS)
        found[index] = _put(found[index], at, _number(rnd.choice(_NUMBERS), width))
    elif what == 4:
        found[index] = _put(found[index], 257, rnd.choice(_MAGICS))
    else:
        other = found[rnd.choice(heads)]
        at = rnd.choice((0, 157))
        found[index] = _put(found[index], rnd.choice((0, 157)), other[at : at + 100])


def _nest(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    """Let one entry's path lead over another entry."""
    heads = [index for index, member in enumerate(found) if whole(member)]
    if heads:
        index = rnd.choice(heads)
        above, below = (found[which][:100].rstrip(b"\0") for which in (rnd.choice(heads), index))
        path = (above.rstrip(b"/") + b"/" + below)[:100]
        found[index] = _put(found[index], 0, path.ljust(100, b"\0"))


def _shake(found: List[bytes], rnd: random.Random, havoc: Havoc) -> None:
    """Change bytes of one header or of its content."""
    if found:
        index = rnd.randrange(len(found))
        head, body = found[index][: t.BLOCK], found[index][t.BLOCK :]
        if body and rnd.random() < 0.5:
            body = havoc(body, len(body)).ljust(len(body), b"\0")
        else:
            head = havoc(head, t.BLOCK).ljust(t.BLOCK, b"\0")
        found[index] = head + body


_WAYS: Sequence[Callable[[List[bytes], random.Random, Havoc], None]] = (
    _drop, _double, _move, _insert, _insert, _extend, _rewrite, _rewrite, _rewrite, _nest,
    _shake,
)  # fmt: skip


def _put(member: bytes, at: int, value: bytes) -> bytes:
    return member[:at] + value + member[at + len(value) :]


def name(rnd: random.Random) -> bytes:
    """A name that has to do with the layers below, or with what they must not be told."""
    made = rnd.choice(_PLAIN)
    if rnd.random() < 0.4:
        made = made + b"/" + rnd.choice((*_MARKS, *_PLAIN))
    if rnd.random() < 0.2:
        above, slash, last = made.rpartition(b"/")
        made = above + slash + b".wh." + last
    return made


def _number(value: int, width: int) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return t.base256(value, width)
