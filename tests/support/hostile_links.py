"""Odd and hostile layers: hard links."""

from __future__ import annotations

import stat
from typing import Iterator

from tests.support import hostile_tar as t
from tests.support.hostile_case import (
    IMPLIED,
    Case,
    Refused,
    Shows,
    file,
    link,
    linked,
    special,
)
from tests.support.hostile_names import PARENT

MISSING = "is not there"
PASSWD = {"mode": 0o640, "uid": 3, "gid": 4}
"""What the parent layer has."""


def out_of_the_tree() -> Iterator[Case]:
    for target in (b"../canary", b"../../../../etc/passwd", b"a/../../canary", b".."):
        yield Case(
            f"hard link out: {target.decode()}", t.tar(t.hardlink(b"x", target)), Refused("")
        )
    for target in (b"/etc/shadow", b"/../canary", b"canary"):
        yield Case(
            f"hard link to what is only outside: {target.decode()}",
            t.tar(t.hardlink(b"x", target)),
            Refused(MISSING),
        )
    for target in (b"..", b"../..", b"/"):
        yield Case(
            f"hard link, its target over a link to {target.decode()}",
            t.tar(t.symlink(b"l", target), t.hardlink(b"x", b"l/canary")),
            Refused(MISSING),
        )
    yield Case(
        "hard link to a link that leads out",
        t.tar(t.symlink(b"l", b"../canary"), t.hardlink(b"x", b"l", mode=0o777)),
        Shows(linked(link(b"../canary"), b"l", b"x")),
    )
    yield Case(
        "hard link over an inherited link",
        t.tar(t.hardlink(b"x", b"to-dir/old")),
        Shows(linked(file(b"old"), b"x", b"data/old")),
        (PARENT,),
        diff=Refused(MISSING),
    )


def to_what_cannot_be_linked() -> Iterator[Case]:
    for what, members in {
        "nothing": (t.hardlink(b"x", b"nothing"),),
        "no target at all": (t.hardlink(b"x", b""),),
        "itself": (t.hardlink(b"x", b"x"),),
        "something later": (t.hardlink(b"x", b"y"), t.member(b"y")),
        "a folder": (t.folder(b"d/"), t.hardlink(b"x", b"d")),
        "the root": (t.hardlink(b"x", b"."),),
        "something in a file": (t.member(b"f"), t.hardlink(b"x", b"f/y")),
        "a whiteout": (t.member(b".wh.f"), t.hardlink(b"x", b".wh.f")),
        "unknown plnk": (t.hardlink(b"x", b".wh..wh.plnk/1.2"),),
    }.items():
        yield Case(f"hard link to {what}", t.tar(*members), Refused(""))
    yield Case(
        "hard link over its own inherited target",
        t.tar(t.hardlink(b"file", b"file")),
        Refused(""),
        (PARENT,),
    )
    yield Case(
        "hard link in place of the folder with its target",
        t.tar(t.hardlink(b"data", b"data/old")),
        Refused(""),
        (PARENT,),
    )
    yield Case(
        "hard link to what a whiteout removed",
        t.tar(t.member(b".wh.file"), t.hardlink(b"x", b"file")),
        Refused(MISSING),
        (PARENT,),
    )


def within_the_layer() -> Iterator[Case]:
    one = t.member(b"a", data=b"one", mode=0o600)
    yield Case(
        "hard link as it should be",
        t.tar(one, t.hardlink(b"d/b", b"a", mode=0o600), t.hardlink(b"c", b"./d/../a", mode=0o600)),
        Shows({b"d": IMPLIED, **linked(file(b"one", 0o600), b"a", b"d/b", b"c")}),
    )
    yield Case(
        "hard link with other metadata: the last one wins",
        t.tar(one, t.hardlink(b"b", b"a", mode=0o755, uid=1, gid=2, mtime=7)),
        Shows(linked(file(b"one", 0o755, owner=(1, 2), mtime_ns=7 * 10**9), b"a", b"b")),
    )
    yield Case(
        "hard link that claims content",
        t.tar(one, t.hardlink(b"b", b"a", mode=0o600, size=3), t.member(b"c")),
        Shows({**linked(file(b"one", 0o600), b"a", b"b"), b"c": file()}),
    )
    yield Case(
        "target replaced afterwards",
        t.tar(one, t.hardlink(b"b", b"a", mode=0o600), t.member(b".wh.a")),
        Shows({b"b": file(b"one", 0o600)}),
    )
    fifo = t.member(b"p", t.FIFO)
    yield Case(
        "hard links to a fifo and a link",
        t.tar(fifo, t.hardlink(b"q", b"p"), t.symlink(b"l", b"p"), t.hardlink(b"m", b"l")),
        Shows(
            {
                **linked(special(stat.S_IFIFO), b"p", b"q"),
                **linked(link(b"p"), b"l", b"m"),
            }
        ),
    )


def to_inherited() -> Iterator[Case]:
    """Docker would change the parent layer by its own hard link."""
    yield Case(
        "hard link to an inherited file, same metadata",
        t.tar(t.hardlink(b"x", b"etc/passwd", **PASSWD)),
        Shows(linked(file(b"root", 0o640, owner=(3, 4)), b"x", b"etc/passwd")),
        (PARENT,),
    )
    yield Case(
        "absolute hard link to an inherited file",
        t.tar(t.hardlink(b"x", b"/etc/passwd", **PASSWD)),
        Shows(linked(file(b"root", 0o640, owner=(3, 4)), b"x", b"etc/passwd")),
        (PARENT,),
    )
    for what, fields, node in (
        ("mode", {"mode": 0o4755}, file(b"root", 0o4755, owner=(3, 4))),
        ("owner", {"uid": 9}, file(b"root", 0o640, owner=(9, 4))),
        ("time", {"mtime": 9}, file(b"root", 0o640, owner=(3, 4), mtime_ns=9 * 10**9)),
    ):
        yield Case(
            f"hard link to an inherited file, other {what}",
            t.tar(t.hardlink(b"x", b"etc/passwd", **{**PASSWD, **fields})),
            Shows(linked(node, b"x", b"etc/passwd")),
            (PARENT,),
        )
    yield Case(
        "hard link to an inherited file, other attributes",
        t.tar(t.xattr(b"user.x", b"y"), t.hardlink(b"x", b"etc/passwd", **PASSWD)),
        Shows(
            linked(
                file(b"root", 0o640, owner=(3, 4), xattrs=(("user.x", b"y"),)), b"x", b"etc/passwd"
            )
        ),
        (PARENT,),
    )


def to_inherited_of_other_kinds() -> Iterator[Case]:
    yield Case(
        "hard link to one of two inherited names, other mode",
        t.tar(t.hardlink(b"x", b"hard", mode=0o600)),
        Shows(
            {**linked(file(b"file", 0o600), b"x", b"hard"), b"file": file(b"file")},
        ),
        (PARENT,),
    )
    yield Case(
        "hard link to an inherited link, other owner",
        t.tar(t.hardlink(b"x", b"to-dir", mode=0o777, uid=7)),
        Shows(linked(link(b"data", owner=(7, 0)), b"x", b"to-dir")),
        (PARENT,),
    )
    yield Case(
        "hard link to an inherited fifo, other mode",
        t.tar(t.hardlink(b"x", b"pipe", mode=0o600)),
        Shows(linked(special(stat.S_IFIFO, 0o600), b"x", b"pipe")),
        (PARENT,),
    )
    yield Case(
        "hard link in place of an inherited folder",
        t.tar(t.hardlink(b"data", b"file")),
        Shows(linked(file(b"file"), b"data", b"file", b"hard")),
        (PARENT,),
    )


def auxiliary() -> Iterator[Case]:
    """AUFS kept the content of hard links in a directory of its own."""
    store = t.member(b".wh..wh.plnk/1.2", data=b"linked", mode=0o600, uid=5)
    yield Case(
        "plnk",
        t.tar(
            t.folder(b".wh..wh.plnk/"),
            store,
            t.hardlink(b"a", b".wh..wh.plnk/1.2"),
            t.hardlink(b"b", b".wh..wh.plnk/1.2", uid=9),
        ),
        Shows({name: file(b"linked", 0o600, owner=(5, 0)) for name in (b"a", b"b")}),
    )
    yield Case(
        "plnk with a hostile name",
        t.tar(
            t.member(b".wh..wh.plnk/../../canary", data=b"x"),
            t.hardlink(b"a", b".wh..wh.plnk/../../canary"),
        ),
        Refused(""),
    )
    yield Case(
        "plnk that is a link",
        t.tar(
            t.symlink(b".wh..wh.plnk/1.2", b"/etc/passwd"), t.hardlink(b"a", b".wh..wh.plnk/1.2")
        ),
        Refused(""),
    )
    yield Case(
        "plnk used before it is there",
        t.tar(t.hardlink(b"a", b".wh..wh.plnk/1.2"), store),
        Refused(""),
    )
    yield Case("plnk unused", t.tar(store), Shows({}))


CASES = (
    *out_of_the_tree(),
    *to_what_cannot_be_linked(),
    *within_the_layer(),
    *to_inherited(),
    *to_inherited_of_other_kinds(),
    *auxiliary(),
)
