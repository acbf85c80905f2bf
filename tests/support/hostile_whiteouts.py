"""Odd and hostile layers: whiteouts, opaque markers, and what AUFS left."""

from __future__ import annotations

from typing import Iterator

from tests.support import hostile_tar as t
from tests.support.hostile_case import (
    IMPLIED,
    Case,
    Refused,
    Shows,
    file,
    folder,
)
from tests.support.hostile_names import PARENT

NOTHING = "whiteout of nothing"


def of_nothing() -> Iterator[Case]:
    """Names that hide a directory above their own."""
    for name in (b".wh.", b".wh..", b".wh...", b"data/.wh.", b"data/sub/.wh..", b"data/sub/.wh..."):
        yield Case(
            f"whiteout {name.decode()}",
            t.tar(t.member(name)),
            Refused(NOTHING),
            (PARENT,),
        )
    yield Case("whiteout folder .wh./x", t.tar(t.member(b".wh./x")), Refused(""))


def whiteouts() -> Iterator[Case]:
    yield Case(
        "whiteouts of all kinds",
        t.tar(
            *(t.member(b".wh." + name) for name in (b"data", b"file", b"to-dir", b"pipe")),
            t.member(b"etc/.wh.passwd"),
            t.member(b".wh.never-there"),
        ),
        Shows(
            dict.fromkeys((b"data", b"file", b"to-dir", b"pipe", b"etc/passwd")),
        ),
        (PARENT,),
    )
    yield Case(
        "whiteout of what a link points to",
        t.tar(t.member(b".wh.to-dir"), t.member(b".wh.dangling"), t.member(b".wh.loop")),
        Shows({b"to-dir": None, b"dangling": None, b"loop": None}),
        (PARENT,),
    )
    yield Case(
        "whiteout in a missing folder",
        t.tar(t.member(b"no/such/.wh.x")),
        Shows({b"no": IMPLIED, b"no/such": IMPLIED}),
    )
    yield Case("whiteout in a file", t.tar(t.member(b"file/.wh.x")), Refused(""), (PARENT,))


def made_and_whited_out() -> Iterator[Case]:
    yield Case(
        "whiteout of what this layer made",
        t.tar(t.member(b"new"), t.member(b".wh.new"), t.folder(b"d/"), t.member(b".wh.d")),
        Shows({}),
    )
    yield Case(
        "whiteout, then made again",
        t.tar(t.member(b".wh.data"), t.folder(b"data/"), t.member(b"data/new")),
        Shows(
            {
                b"data": folder(),
                b"data/new": file(),
                b"data/old": None,
                b"data/sub": None,
            }
        ),
        (PARENT,),
    )
    yield Case(
        "whiteout after it was made again",
        t.tar(t.folder(b"data/"), t.member(b"data/new"), t.member(b".wh.data")),
        Shows({b"data": None}),
        (PARENT,),
    )


def odd_whiteouts() -> Iterator[Case]:
    for what, kind, more in (
        ("folder", t.DIR, {}),
        ("link", t.SYMLINK, {"target": b"/etc/passwd"}),
        ("device", t.CHAR, {"device": (1, 3)}),
        ("fifo", t.FIFO, {}),
        ("full file", t.FILE, {"data": b"content"}),
    ):
        yield Case(
            f"whiteout that is a {what}",
            t.tar(t.member(b".wh.data", kind, **more)),
            Shows({b"data": None}),
            (PARENT,),
        )
    yield Case(
        "folder named as a whiteout, with content",
        t.tar(t.folder(b".wh.d/"), t.member(b".wh.d/x", data=b"x")),
        Refused(""),
    )
    yield Case(
        "whiteout with metadata that cannot be",
        t.tar(t.member(b".wh.data", uid=-1, gid=1 << 40, mtime=-5)),
        Shows({b"data": None}),
        (PARENT,),
    )
    yield Case(
        "whiteout of a whiteout",
        # Listed, so that its time does not tell whether something was done in it.
        t.tar(t.folder(b"data/"), t.member(b"data/.wh..wh.x"), t.member(b"data/.wh..wh.foo")),
        Shows({}),
        (PARENT,),
    )


def opaque() -> Iterator[Case]:
    yield Case(
        "opaque",
        t.tar(t.folder(b"data/"), t.member(b"data/new"), t.member(b"data/.wh..wh..opq")),
        Shows({b"data": folder(), b"data/new": file(), b"data/old": None, b"data/sub": None}),
        (PARENT,),
    )
    yield Case(
        "opaque first",
        t.tar(t.member(b"data/.wh..wh..opq"), t.member(b"data/old", data=b"new")),
        Shows({b"data/old": file(b"new"), b"data/sub": None}),
        (PARENT,),
    )
    yield Case(
        "opaque forgets what was implied",
        t.tar(t.member(b"data/a/b"), t.member(b"data/.wh..wh..opq")),
        Shows({b"data/old": None, b"data/sub": None}),
        (PARENT,),
    )
    yield Case(
        "opaque top",
        t.tar(t.member(b"new"), t.member(b".wh..wh..opq")),
        Shows(
            {
                **dict.fromkeys(
                    (
                        *(b"etc", b"data", b"file", b"hard", b"to-dir", b"to-file", b"chain"),
                        *(b"absolute", b"inside", b"loop", b"dangling", b"pipe"),
                    )
                ),
                b"new": file(),
            }
        ),
        (PARENT,),
    )


def odd_opaque() -> Iterator[Case]:
    yield Case("opaque in nothing", t.tar(t.member(b".wh..wh..opq")), Shows({}))
    yield Case(
        "opaque in a missing folder",
        t.tar(t.member(b"no/.wh..wh..opq")),
        Shows({b"no": IMPLIED}),
    )
    yield Case("opaque in a file", t.tar(t.member(b"file/.wh..wh..opq")), Refused(""), (PARENT,))
    yield Case(
        "opaque that is a folder with content",
        t.tar(t.folder(b"data/.wh..wh..opq/"), t.member(b"data/.wh..wh..opq/x")),
        Refused(""),
        (PARENT,),
    )
    yield Case(
        "opaque that is a link",
        t.tar(t.symlink(b"data/.wh..wh..opq", b"/")),
        Shows({b"data/old": None, b"data/sub": None}),
        (PARENT,),
    )
    yield Case(
        "opaque twice and in each other",
        t.tar(
            t.member(b"data/sub/.wh..wh..opq"),
            t.member(b"data/sub/x"),
            t.member(b"data/.wh..wh..opq"),
        ),
        Shows({b"data/sub": None, b"data/old": None}),
        (PARENT,),
    )


def aufs() -> Iterator[Case]:
    yield Case(
        "AUFS's own files",
        t.tar(
            t.member(b".wh..wh.aufs", data=b"x"),
            t.folder(b".wh..wh.orph/"),
            t.member(b".wh..wh.orph/x"),
            t.symlink(b".wh..wh.foo", b"/"),
            t.member(b"./.wh..wh.bar"),
        ),
        Shows({}),
    )
    yield Case("AUFS's name, and up", t.tar(t.member(b".wh..wh.x/../../canary")), Refused(""))
    yield Case(
        "AUFS's name in a folder",
        t.tar(t.folder(b"d/"), t.member(b"d/.wh..wh.foo")),
        Shows({b"d": folder()}),
    )
    yield Case("absolute AUFS name", t.tar(t.member(b"/.wh..wh.aufs")), Shows({}))


CASES = (
    *of_nothing(),
    *whiteouts(),
    *made_and_whited_out(),
    *odd_whiteouts(),
    *opaque(),
    *odd_opaque(),
    *aufs(),
)
