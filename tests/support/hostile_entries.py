"""Odd and hostile layers: types, metadata, and names that come twice."""

from __future__ import annotations

import stat
import struct
from typing import Iterator

from tests.support import hostile_tar as t
from tests.support.hostile_case import (
    Case,
    Refused,
    Shows,
    file,
    folder,
    link,
    special,
)
from tests.support.hostile_names import PARENT

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
"""linux/capability.h: revision 2, effective, CAP_NET_RAW."""
_ACL_ENTRY = struct.Struct("<HHI")
ACL = struct.pack("<I", 2) + b"".join(
    _ACL_ENTRY.pack(tag, bits, who)
    for tag, bits, who in ((1, 6, -1 & 0xFFFFFFFF), (2, 7, 1000), (4, 4, -1 & 0xFFFFFFFF),
                           (16, 7, -1 & 0xFFFFFFFF), (32, 4, -1 & 0xFFFFFFFF))
)  # fmt: skip
"""linux/posix_acl_xattr.h: user::rw- user:1000:rwx group::r-- mask::rwx other::r--"""


def twice() -> Iterator[Case]:
    file_, again = t.member(b"x", data=b"1"), t.member(b"x", data=b"2")
    dir_ = t.folder(b"x/", mode=0o700)
    for what, members, shows in (
        ("file", (file_, again), {b"x": file(b"2")}),
        ("spelt otherwise", (file_, t.member(b"./x", data=b"2")), {b"x": file(b"2")}),
        ("folder", (dir_, t.folder(b"x/", mode=0o711)), {b"x": folder(0o711)}),
        ("file, then folder", (file_, dir_), {b"x": folder(0o700)}),
        ("folder, then file", (dir_, t.member(b"x/y"), file_), {b"x": file(b"1")}),
        ("link, then file", (t.symlink(b"x", b"canary"), file_), {b"x": file(b"1")}),
        ("link out, then folder", (t.symlink(b"x", b"/"), dir_), {b"x": folder(0o700)}),
    ):
        yield Case(f"twice: {what}", t.tar(*members), Shows(shows))
    yield Case(
        "twice: fifo, then file",
        t.tar(t.member(b"x", t.FIFO), file_),
        Shows({b"x": file(b"1")}),
    )
    yield Case("many entries", _many, Shows({b"%d" % number: file() for number in range(2000)}))


def _many() -> bytes:
    return t.tar(*(t.member(b"%d" % number) for number in range(2000)))


def flips() -> Iterator[Case]:
    gone = {b"data/old": None, b"data/sub": None}
    yield Case(
        "folder becomes file", t.tar(t.member(b"data")), Shows({b"data": file(), **gone}), (PARENT,)
    )
    yield Case(
        "folder becomes link",
        t.tar(t.symlink(b"data", b"etc")),
        Shows({b"data": link(b"etc"), **gone}),
        (PARENT,),
    )
    for name in (b"file", b"to-dir", b"pipe", b"loop"):
        yield Case(
            f"{name.decode()} becomes folder",
            t.tar(t.folder(name), t.member(name + b"/x")),
            Shows({name: folder(), name + b"/x": file()}),
            (PARENT,),
        )
    yield Case(
        "inherited folder gets other metadata",
        t.tar(t.folder(b"etc/", mode=0o1777, uid=9, gid=9, mtime=9)),
        Shows({b"etc": folder(0o1777, owner=(9, 9), mtime_ns=9 * 10**9)}),
        (PARENT,),
    )


def types() -> Iterator[Case]:
    for what, kind, node in (
        ("char", t.CHAR, special(stat.S_IFCHR, device=(1, 3))),
        ("block", t.BLOCK_DEVICE, special(stat.S_IFBLK, device=(1, 3))),
        ("fifo", t.FIFO, special(stat.S_IFIFO)),
    ):
        yield Case(f"a {what}", t.tar(t.member(b"x", kind, device=(1, 3))), Shows({b"x": node}))
        sized = t.tar(t.member(b"x", kind, device=(1, 3), size=5), t.member(b"y"))
        yield Case(f"a {what} with a size", sized, Shows({b"x": node, b"y": file()}))
    yield Case(
        "largest device",
        t.tar(t.member(b"x", t.CHAR, device=(4095, 1048575))),
        Shows({b"x": special(stat.S_IFCHR, device=(4095, 1048575))}),
    )
    for device in ((4096, 0), (0, 1 << 20), (-1, 1), (1 << 31, 1 << 31)):
        yield Case(
            f"device {device[0]}:{device[1]}",
            t.tar(t.member(b"x", t.CHAR, device=device)),
            Refused("cannot be"),
        )
    yield Case("char 0:0", t.tar(t.member(b"x", t.CHAR)), Refused(""))
    yield Case("char 0:0 over a file", t.tar(t.member(b"file", t.CHAR)), Refused(""), (PARENT,))
    yield Case(
        "block 0:0", t.tar(t.member(b"x", t.BLOCK_DEVICE)), Shows({b"x": special(stat.S_IFBLK)})
    )
    yield Case("NUL as type: a file", t.tar(t.member(b"x", b"\0", b"x")), Shows({b"x": file(b"x")}))
    yield Case(
        "NUL as type: a folder",
        t.tar(t.member(b"x/", b"\0", mode=0o755)),
        Shows({b"x": folder()}),
    )
    for kind in (b"7", b"s", b"D", b"M", b"V", b"N", b"Z", b"8", b"X", b"A", b"\xff"):
        yield Case(f"type {kind!r}", t.tar(t.member(b"x", kind)), Refused("unknown type"))


def attributes() -> Iterator[Case]:
    for name, value in (
        (b"user.x", b"a\0b\xff"),
        (b"trusted.x", b"y"),
        (b"security.capability", CAPABILITY),
    ):
        yield Case(
            f"attribute {name.decode()}",
            t.tar(t.xattr(name, value), t.member(b"x", mode=0o755)),
            Shows({b"x": file(mode=0o755, xattrs=((name.decode(), value),))}),
        )
    acl = ("system.posix_acl_access", ACL)
    yield Case(
        "an access control list",
        t.tar(t.xattr(acl[0].encode(), ACL), t.member(b"x", mode=0o674)),
        Shows({b"x": file(mode=0o674, xattrs=(acl,))}),
    )
    yield Case(
        "access control list of a bad tag",
        t.tar(t.xattr(b"system.posix_acl_access", ACL + _ACL_ENTRY.pack(99, 0, 0)), t.member(b"x")),
        Refused("cannot be"),
    )
    yield Case(
        "access control list of a version that the kernel does not have",
        t.tar(t.xattr(b"system.posix_acl_access", b"nonsense"), t.member(b"x")),
        Shows({b"x": file()}),
    )


def odd_attributes() -> Iterator[Case]:
    for name in (b"opaque", b"redirect", b"metacopy", b"origin", b"overlay.opaque"):
        full = b"trusted.overlay." + name
        for what, member in (("file", t.member(b"x")), ("folder", t.folder(b"x"))):
            yield Case(
                f"{full.decode()} on a {what}", t.tar(t.xattr(full, b"y"), member), Refused("")
            )
    yield Case(
        "user.overlay.opaque",
        t.tar(t.xattr(b"user.overlay.opaque", b"y"), t.folder(b"x")),
        Shows({b"x": folder(xattrs=(("user.overlay.opaque", b"y"),))}),
    )
    yield Case(
        "attribute of no class",
        t.tar(t.xattr(b"nonsense", b"y"), t.member(b"x")),
        Shows({b"x": file()}),
    )
    yield Case(
        "user attribute on a link",
        t.tar(t.xattr(b"user.x", b"y"), t.symlink(b"x", b"y")),
        Shows({b"x": link(b"y")}),
    )
    for what, name, size in (
        ("of 60 KiB", b"user.x", 60 << 10),
        ("of 128 KiB", b"user.x", 128 << 10),
        ("of a long name", b"user." + b"x" * 300, 1),
    ):
        yield Case(
            f"attribute {what}", t.tar(t.xattr(name, b"v" * size), t.member(b"x")), Refused("")
        )
    yield Case(
        "attribute with a name that is not UTF-8",
        t.tar(t.xattr(b"user.\xff", b"y"), t.member(b"x")),
        Refused(""),
    )


def owners_and_modes() -> Iterator[Case]:
    for uid in (65534, 0x7FFFFFFF, 0xFFFFFFFE):
        yield Case(
            f"owner {uid}",
            t.tar(t.member(b"x", uid=uid, gid=uid)),
            Shows({b"x": file(owner=(uid, uid))}),
        )
    for uid in (0xFFFFFFFF, 1 << 32, 1 << 40, -1, -2):
        yield Case(f"impossible owner {uid}", t.tar(t.member(b"x", uid=uid)), Refused("owner"))
        yield Case(f"impossible group {uid}", t.tar(t.folder(b"x", gid=uid)), Refused("owner"))
    for mode in (0, 0o7777, 0o4711, 0o100644, 0o40755, 0o177777, 0o777777):
        yield Case(
            f"mode {mode:o}",
            t.tar(t.member(b"x", mode=mode)),
            Shows({b"x": file(mode=mode & 0o7777)}),
        )
    yield Case(
        "mode of a link means nothing",
        t.tar(t.symlink(b"x", b"file", mode=0o4777)),
        Shows({b"x": link(b"file")}),
        (PARENT,),
    )
    yield Case("negative mode", t.tar(t.member(b"x", mode=-1)), Shows({b"x": file(mode=0o7777)}))


def times() -> Iterator[Case]:
    for mtime, shown in ((0, 0), (-1, 0), (-(1 << 40), 0), (1 << 40, 0), (1 << 62, 0)):
        yield Case(
            f"time {mtime}",
            t.tar(t.member(b"x", mtime=mtime), t.folder(b"d", mtime=mtime)),
            Shows({b"x": file(mtime_ns=shown), b"d": folder(mtime_ns=shown)}),
        )
    yield Case(
        "time of 2100",
        t.tar(t.member(b"x", mtime=4102444800)),
        Shows({b"x": file(mtime_ns=4102444800 * 10**9)}),
    )
    for text, nanoseconds in (
        (b"1.5", 1_500_000_000),
        (b"1.123456789999", 1_123_456_789),
        (b"-1.5", 0),
        (b"1.", 10**9),
        (b"0.000000001", 1),
    ):
        yield Case(
            f"time {text.decode()}",
            t.tar(t.pax({b"mtime": text}), t.member(b"x")),
            Shows({b"x": file(mtime_ns=nanoseconds)}),
        )
    for text in (b"1e5", b"nan", b"", b"0x10", b"1.5.5", b"9" * 40, b" 1"):
        expected = Refused("not a time") if text else Shows({b"x": file()})
        yield Case(
            f"time {text[:9].decode()!r}", t.tar(t.pax({b"mtime": text}), t.member(b"x")), expected
        )


def root() -> Iterator[Case]:
    for name in (b"./", b".", b"/", b"a/.."):
        yield Case(
            f"root as {name.decode()}",
            t.tar(t.folder(name, mode=0o1711, uid=12, gid=34, mtime=99)),
            Shows({b"": folder(0o1711, owner=(12, 34), mtime_ns=99 * 10**9)}),
            (PARENT,),
        )
    for what, member in {
        "file": t.member(b".", b"0"),
        "link": t.symlink(b".", b"/"),
        "hard link": t.hardlink(b"./", b"file"),
        "fifo": t.member(b"/", t.FIFO),
        "device": t.member(b".", t.CHAR, device=(1, 3)),
    }.items():
        yield Case(f"root as a {what}", t.tar(member), Refused("root"), (PARENT,))


CASES = (
    *twice(),
    *flips(),
    *types(),
    *attributes(),
    *odd_attributes(),
    *owners_and_modes(),
    *times(),
    *root(),
)
