"""Odd and hostile layers: names, and paths that lead over something that is no directory."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, Optional

from tests.support import hostile_tar as t
from tests.support.hostile_case import (
    IMPLIED,
    Case,
    Node,
    Refused,
    Shows,
    file,
    folder,
    link,
    linked,
)

PARENT = t.tar(
    t.folder(b"etc/", mode=0o750, uid=1, gid=2),
    t.member(b"etc/passwd", data=b"root", mode=0o640, uid=3, gid=4),
    t.folder(b"data/"),
    t.folder(b"data/sub/"),
    t.member(b"data/sub/deep", data=b"deep"),
    t.member(b"data/old", data=b"old"),
    t.member(b"file", data=b"file"),
    t.hardlink(b"hard", b"file"),
    t.symlink(b"to-dir", b"data"),
    t.symlink(b"to-file", b"file"),
    t.symlink(b"chain", b"to-dir"),
    t.symlink(b"absolute", b"/data"),
    t.symlink(b"inside", b"data/../data"),
    t.symlink(b"loop", b"loop"),
    t.symlink(b"dangling", b"nowhere"),
    t.member(b"pipe", t.FIFO),
)
"""What most cases have below them: all kinds of things to trip over."""

OUT = "leads out of it"
NO_DIRECTORY = "no directory"
NOT_THERE = "not there"
CANNOT_BE = "Linux cannot have"


def names() -> Iterator[Case]:
    """Names that lead somewhere else, or nowhere."""
    yield Case("the parent itself", t.tar(), Shows({}), (PARENT,))
    one = {b"etc": IMPLIED, b"etc/x": file(b"x")}
    yield Case("absolute name", t.tar(t.member(b"/etc/x", data=b"x")), Shows(one))
    yield Case("dots and slashes", t.tar(t.member(b"./etc//.//x", data=b"x")), Shows(one))
    for name in (b"../canary", b"a/../../canary", b"./../../../canary", b"../.wh.canary"):
        yield Case(f"up: {name.decode()}", t.tar(t.member(name)), Refused(OUT))
    opaque = t.tar(t.member(b"../.wh..wh..opq"))
    yield Case("up: ../.wh..wh..opq", opaque, Refused(OUT))
    yield Case("up: folder ../x/", t.tar(t.folder(b"../x/")), Refused(OUT))
    for name in (b"..", b"../"):
        yield Case(f"up: {name.decode()}", t.tar(t.member(name)), Refused(OUT))
    yield Case("up from the top", t.tar(t.member(b"/../x")), Shows({b"x": file()}))
    yield Case("up and down", t.tar(t.member(b"a/../x")), Shows({b"x": file()}))
    long = b"a/b/../../x/"
    yield Case("folder, up and down", t.tar(t.folder(long)), Shows({b"x": folder()}))
    # The type says what an entry is, whatever its name looks like; only v7's says nothing.
    yield Case("file with a slash, up and down", t.tar(t.member(long)), Shows({b"x": file()}))
    yield Case("file with a slash", t.tar(t.member(b"x/")), Shows({b"x": file()}))
    old = t.member(long, b"\0", mode=0o755)
    yield Case("v7 entry with a slash, up and down", t.tar(old), Shows({b"x": folder()}))
    yield Case("no name", t.tar(t.member(b"")), Refused(""))
    yield Case("backslash and spaces", t.tar(t.member(b" \\..\\ ")), Shows({b" \\..\\ ": file()}))
    for name in (b"new\nline", b"\xff\xfe", b"\x1b[31m", b"...", b"-rf", b".wh", b"a:b,c=d"):
        yield Case(f"name {name!r}", t.tar(t.member(name)), Shows({name: file()}))
    yield Case("NUL in the field", t.tar(t.member(b"x\0y/../../z")), Shows({b"x": file()}))
    yield Case("NUL in pax", t.tar(t.pax({b"path": b"x\0y"}), t.member(b"x")), Refused("forbidden"))
    for length in (255, 256):
        name = b"n" * length
        expected = Shows({name: file()}) if length == 255 else Refused(CANNOT_BE)
        yield Case(f"name of {length}", t.tar(t.pax({b"path": name}), t.member(b"x")), expected)
    yield from _long_paths()


def _long_paths() -> Iterator[Case]:
    """At the limit (4,096 with the NUL at the end), above, and far above."""
    for length, levels in ((4095, 2047), (4096, 2048)):
        path = b"/".join([b"a"] * levels).ljust(length, b"b")
        above = {path[: 2 * level + 1]: IMPLIED for level in range(levels - 1)}
        yield Case(
            f"path of {length}",
            t.tar(t.pax({b"path": path}), t.member(b"x", data=b"far")),
            Shows({**above, path: file(b"far")}) if length == 4095 else Refused(CANNOT_BE),
        )
    deep = b"a/" * 5000
    yield Case("5,000 levels deep", t.tar(t.pax({b"path": deep}), t.folder(b"x")), Refused(""))
    ups = b"a/../" * 5000 + b"x"
    yield Case("5,000 ups", t.tar(t.pax({b"path": ups}), t.member(b"x")), Shows({b"x": file()}))


_MAKING: Dict[str, Callable[[bytes], bytes]] = {
    "file": lambda at: t.member(at + b"/x", data=b"x"),
    "folder": lambda at: t.folder(at + b"/x/"),
    "hard link": lambda at: t.hardlink(at + b"/x", b"file"),
    "whiteout": lambda at: t.member(at + b"/.wh.old"),
    "opaque": lambda at: t.member(at + b"/.wh..wh..opq"),
}


def _made(what: str, at: bytes) -> Dict[bytes, Optional[Node]]:
    """What comes of it, if the path leads to the directory `at` (with a slash behind)."""
    if what == "hard link":
        return linked(file(b"file"), at + b"x", b"file", b"hard")
    made = {"file": file(b"x"), "folder": folder(), "whiteout": None}
    if what == "whiteout" and at != b"data/":
        return {}
    return {at + (b"old" if what == "whiteout" else b"x"): made[what]} if what in made else {}


def over_own_links() -> Iterator[Case]:
    """Something is to be made below a symbolic link of the same tar, which is followed inside."""
    for what, make in _MAKING.items():
        for target, at in (
            *((to, b"data/") for to in (b"data", b"/data", b"../data", b"to-dir", b"chain")),
            *((to, b"") for to in (b"/", b".", b"../../..", b"data/../..")),
        ):
            yield Case(
                f"{what} over a link to {target.decode()}",
                t.tar(t.symlink(b"l", target), make(b"l")),
                Shows({b"l": link(target), **_made(what, at)}),
                (PARENT,),
                # An overlay directory's tar does not see the lower link that its own leads to.
                diff=Refused(NOT_THERE)
                if target in (b"to-dir", b"chain") and what != "opaque"
                else None,
            )
        for target, text in (
            (b"../canary", NOT_THERE),
            (b"l", "too many"),
            (b"file", NO_DIRECTORY),
        ):
            harmless = Shows({b"l": link(target)})
            yield Case(
                f"{what} over a link to {target.decode()}",
                t.tar(t.symlink(b"l", target), make(b"l")),
                harmless if what == "opaque" else Refused(text),
                (PARENT,),
            )


def over_links_in_a_folder() -> Iterator[Case]:
    for what, make in _MAKING.items():
        for target in (b"/data", b"../data", b"../../../data", b"../d/../data"):
            yield Case(
                f"{what} over a link in a folder to {target.decode()}",
                t.tar(t.folder(b"d/"), t.symlink(b"d/l", target), make(b"d/l")),
                Shows({b"d": folder(), b"d/l": link(target), **_made(what, b"data/")}),
                (PARENT,),
            )


def over_lower_links() -> Iterator[Case]:
    """The same over a link of the layer below, which an overlay directory's tar does not see."""
    for what, make in _MAKING.items():
        for at in (b"to-dir", b"chain", b"absolute", b"inside"):
            yield Case(
                f"{what} over the lower {at.decode()}",
                t.tar(make(at)),
                Shows(_made(what, b"data/")),
                (PARENT,),
                diff=Shows({at: IMPLIED, **_made(what, at + b"/")}),
            )
        for at, text in (
            (b"loop", "too many"),
            (b"dangling", NOT_THERE),
            (b"to-file", NO_DIRECTORY),
        ):
            yield Case(
                f"{what} over the lower {at.decode()}",
                t.tar(make(at)),
                Shows({}) if what == "opaque" else Refused(text),
                (PARENT,),
                diff=Shows({at: IMPLIED, **_made(what, at + b"/")}),
            )


def over_lower_files() -> Iterator[Case]:
    """The same over what leads nowhere at all."""
    for what, make in _MAKING.items():
        for at in (b"file", b"pipe"):
            yield Case(
                f"{what} over the lower {at.decode()}",
                t.tar(make(at)),
                Refused(NO_DIRECTORY),
                (PARENT,),
            )


def swapped() -> Iterator[Case]:
    """A directory that becomes a link, or the other way, between two entries."""
    yield Case(
        "folder over a link, then a file in it",
        t.tar(t.folder(b"to-dir/"), t.member(b"to-dir/x")),
        Shows({b"to-dir": folder(), b"to-dir/x": file()}),
        (PARENT,),
    )
    gone = {b"data/old": None, b"data/sub": None}
    yield Case(
        "link over a folder, then a file in it",
        t.tar(t.symlink(b"data", b"etc"), t.member(b"data/x")),
        Shows({b"data": link(b"etc"), b"etc/x": file(), **gone}),
        (PARENT,),
        diff=Shows({b"data": link(b"etc"), b"etc/x": file(), **gone}),
    )
    yield Case(
        "swapped while it is used",
        t.tar(t.folder(b"a/"), t.member(b"a/x"), t.symlink(b"a", b"etc"), t.member(b"a/passwd")),
        Shows({b"a": link(b"etc"), b"etc/passwd": file()}),
        (PARENT,),
    )


def links() -> Iterator[Case]:
    """Symbolic links as such."""
    for target in (b"x", b"/etc/passwd", b"a/../..", b"\xff\n", b"x/" * 2000, b"nowhere"):
        yield Case(
            f"link to {target[:20]!r}",
            t.tar(t.pax({b"linkpath": target}), t.symlink(b"l", b"")),
            Shows({b"l": link(target)}),
        )
    for target in (b"..", b"../canary", b"/../canary", b"../" * 20 + b"etc/passwd"):
        yield Case(
            f"link out: {target[:20].decode()}",
            t.tar(t.symlink(b"l", target)),
            Shows({b"l": link(target)}),
        )
    yield Case("link without a target", t.tar(t.symlink(b"l", b"")), Refused("no target"))
    too_long = t.tar(t.pax({b"linkpath": b"x" * 4096}), t.symlink(b"l", b""))
    yield Case("link to 4,096 bytes", too_long, Refused(""))
    content = t.tar(t.member(b"l", t.SYMLINK, b"", target=b"x", size=5), t.member(b"y"))
    yield Case("link that claims content", content, Shows({b"l": link(b"x"), b"y": file()}))
    yield Case(
        "link with odd metadata",
        t.tar(t.symlink(b"l", b"x", mode=0o4000, uid=7, gid=8, mtime=5)),
        Shows({b"l": link(b"x", owner=(7, 8), mtime_ns=5 * 10**9)}),
    )


CASES = (
    *names(),
    *over_own_links(),
    *over_links_in_a_folder(),
    *over_lower_links(),
    *over_lower_files(),
    *swapped(),
    *links(),
)
