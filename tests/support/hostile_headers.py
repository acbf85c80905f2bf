"""Odd and hostile layers: formats of headers, damaged and cut archives, compression."""

from __future__ import annotations

import gzip
import zlib
from typing import Iterator

from tests.support import hostile_tar as t
from tests.support.hostile_case import (
    IMPLIED,
    Case,
    Refused,
    Shows,
    file,
    folder,
    link,
)

X = t.member(b"x", data=b"x")
SHOWS_X = Shows({b"x": file(b"x")})
LONG = b"d" * 100 + b"/" + b"n" * 120


def formats() -> Iterator[Case]:
    yield Case("v7", t.tar(t.member(b"x", data=b"x", magic=t.V7)), SHOWS_X)
    split = t.member(b"n" * 100, data=b"x", rest=b"d" * 100)
    shown = Shows({b"d" * 100: IMPLIED, b"d" * 100 + b"/" + b"n" * 100: file(b"x")})
    yield Case("ustar with a prefix", t.tar(split), shown)
    yield Case("ustar prefix that leads up", t.tar(t.member(b"x", rest=b"../..")), Refused("out"))
    long = {b"d" * 100: IMPLIED, LONG: file(b"x")}
    yield Case("GNU long name", t.tar(t.long_name(LONG), t.member(b"q", data=b"x")), Shows(long))
    target = b"t" * 300
    yield Case(
        "GNU long link",
        t.tar(t.long_name(target, t.LONG_LINK), t.symlink(b"x", b"q")),
        Shows({b"x": link(target)}),
    )
    yield Case(
        "GNU long name twice, the last one wins",
        t.tar(t.long_name(b"no"), t.long_name(b"x"), t.member(b"q", data=b"x")),
        SHOWS_X,
    )
    yield Case("GNU long name that leads up", t.tar(t.long_name(b"../canary"), X), Refused("out"))
    yield Case(
        "GNU long name and pax path",
        t.tar(t.pax({b"path": b"pax"}), t.long_name(b"x"), t.member(b"q", data=b"x")),
        SHOWS_X,
    )
    yield Case(
        "base-256 everywhere",
        t.tar(
            t.member(
                b"x",
                data=b"x",
                size=t.base256(1, 12),
                uid=t.base256(70000, 8),
                gid=t.base256(70001, 8),
                mode=t.base256(0o755, 8),
                mtime=t.base256(5, 12),
            )
        ),
        Shows({b"x": file(b"x", 0o755, owner=(70000, 70001), mtime_ns=5 * 10**9)}),
    )
    yield Case(
        "octal with spaces",
        t.tar(t.member(b"x", data=b"x", size=b"   1 ", mode=b" 644 \0", uid=b"", gid=b"0")),
        SHOWS_X,
    )
    for what, field in (("8", b"0000008\0"), ("-1", b"-000001\0"), ("0x1", b"0x00001\0")):
        yield Case(f"octal {what}", t.tar(t.member(b"x", mode=field)), Refused("octal"))
    yield Case(
        "base-256 beyond 64 bits", t.tar(t.member(b"x", size=b"\x80" + b"\xff" * 11)), Refused("64")
    )


def extended() -> Iterator[Case]:
    """PAX: POSIX.1-2001, and what others make of it."""
    yield Case(
        "pax overrides everything",
        t.tar(
            t.pax({b"path": b"x", b"size": b"1", b"uid": b"7", b"gid": b"8", b"linkpath": b"q"}),
            t.member(b"other", data=b"x", size=0),
        ),
        Shows({b"x": file(b"x", owner=(7, 8))}),
    )
    yield Case("pax path that leads up", t.tar(t.pax({b"path": b"../canary"}), X), Refused("out"))
    yield Case(
        "pax linkpath that leads up",
        t.tar(t.pax({b"linkpath": b"../canary"}), t.hardlink(b"y", b"x")),
        Refused("not there"),
    )
    yield Case(
        "empty pax values keep the header's",
        t.tar(t.pax(dict.fromkeys((b"path", b"size", b"uid", b"linkpath"), b"")), X),
        SHOWS_X,
    )
    yield Case(
        "two pax headers, only the last one counts",
        t.tar(t.pax({b"path": b"first", b"uid": b"5"}), t.pax({b"path": b"x"}), X),
        SHOWS_X,
    )
    yield Case(
        "global pax header changes nothing",
        t.tar(t.pax({b"path": b"evil", b"uid": b"5"}, t.GLOBAL_PAX), X),
        SHOWS_X,
    )
    yield Case("pax header for nothing", t.tar(X, t.pax({b"path": b"evil"})), SHOWS_X)
    yield Case("pax unknown key", t.tar(t.pax({b"NOBODY.knows": b"\0\xff"}), X), SHOWS_X)


def damaged_records() -> Iterator[Case]:
    for what, body in {
        "no length": b"path=x\n",
        "length too long": b"99 path=x\n",
        "length too short": b"5 path=x\n",
        "length zero": b"0 path=x\n",
        "negative length": b"-10 path=x\n",
        "length beyond everything": b"9" * 30 + b" path=x\n",
        "no equals": b"9 pathxx\n",
        "no newline": b"10 path=xx",
        "no key": t.record(b"", b"x"),
        "NUL in the key": t.record(b"a\0b", b"x"),
        "NUL in the path": t.record(b"path", b"a\0b"),
        "NUL in the linkpath": t.record(b"linkpath", b"a\0b"),
        "size of text": t.record(b"size", b"many"),
        "negative size": t.record(b"size", b"-1"),
        "size beyond 64 bits": t.record(b"size", b"9" * 20),
        "uid of text": t.record(b"uid", b"root"),
        "uid beyond everything": t.record(b"uid", b"9" * 5000),
        "garbage behind": t.record(b"path", b"x") + b"rubbish",
    }.items():
        yield Case(f"pax: {what}", t.tar(t.pax(body), X), Refused(""))
    big = t.pax({b"comment": b"c" * (1 << 20)})
    yield Case("pax header of more than a MiB", t.tar(big, X), Refused("extended header"))
    claimed = t.header(b"p", t.PAX, size=1 << 40)
    yield Case("pax header that claims a TiB", claimed, Refused("extended header"))
    name = t.header(b"p", t.LONG_NAME, size=1 << 40, magic=t.GNU)
    yield Case("GNU long name that claims a TiB", name, Refused("extended header"))


def sparse() -> Iterator[Case]:
    entry = t.header(b"x", b"S", size=1, magic=t.GNU, rest=b"\0" * 41 + b"%011o\0%011o\0" % (0, 1))
    yield Case("sparse: GNU's old form", t.tar(entry + t.padded(b"x")), Refused("sparse"))
    for version, records in {
        "0.0": t.record(b"GNU.sparse.size", b"9")
        + t.record(b"GNU.sparse.numblocks", b"1")
        + t.record(b"GNU.sparse.offset", b"0")
        + t.record(b"GNU.sparse.numbytes", b"1"),
        "0.1": t.record(b"GNU.sparse.size", b"9")
        + t.record(b"GNU.sparse.numblocks", b"1")
        + t.record(b"GNU.sparse.map", b"0,1"),
    }.items():
        yield Case(f"sparse: PAX {version}", t.tar(t.pax(records), X), Refused("sparse"))
    one = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"}
    body = t.padded(b"1\n0\n1\n") + b"x"
    member = t.member(b"y", data=body)
    one[b"GNU.sparse.name"] = b"x"
    yield Case("sparse: PAX 1.0", t.tar(t.pax(one), member), Refused("sparse"))
    up = {**one, b"GNU.sparse.name": b"../canary"}
    yield Case("sparse: a name that leads up", t.tar(t.pax(up), member), Refused("sparse"))
    one[b"GNU.sparse.realsize"] = b"%d" % (1 << 50)
    yield Case("sparse: a PiB of nothing", t.tar(t.pax(one), member), Refused("sparse"))


def sizes() -> Iterator[Case]:
    for what, size in (("8 GiB", 8 << 30), ("almost 8 EiB", (1 << 63) - 1024)):
        yield Case(f"{what} claimed, nothing there", t.header(b"x", size=size), Refused(""))
        yield Case(
            f"{what} claimed, little there", t.header(b"x", size=size) + bytes(5000), Refused("")
        )
    pax_size = t.pax({b"size": b"%d" % (8 << 30)})
    yield Case("8 GiB claimed by pax, little there", pax_size + X, Refused("cut short"))
    yield Case("negative size", t.tar(t.member(b"x", size=-1)), Refused("negative"))
    yield Case("negative size of a folder", t.tar(t.folder(b"x", size=-512)), Refused("negative"))
    yield Case(
        "folder with a size",
        t.tar(t.member(b"d/", t.DIR, size=512), X),
        Shows({b"d": folder(), b"x": file(b"x")}),
    )


def damaged() -> Iterator[Case]:
    whole = t.tar(t.folder(b"d/"), t.pax({b"path": b"d/x"}), t.member(b"q", data=b"x" * 600))
    # header 1; pax header, records; header, two blocks of content; end
    for cut in (1, 257, 511, 513, 1000, 1025, 1537, 2047, 2049, 2560, 2600):
        yield Case(f"cut at {cut}", whole[:cut], Refused(""))
    done = Shows({b"d": folder(), b"d/x": file(b"x" * 600)})
    for what, cut in (("both", 1024), ("one", 512)):
        yield Case(f"without {what} of the last blocks", whole[:-cut], done)
    # Nothing but padding is missing; to find more out is for the layer's digest.
    for cut in (2648, 2972, 3071):
        yield Case(f"cut in the padding, at {cut}", whole[:cut], done)
    for cut in (512, 1300, 1536):
        yield Case(f"cut before an entry, at {cut}", whole[:cut], Shows({b"d": folder()}))
    yield Case("cut in the last block", whole[:-100], Refused(""))
    yield Case("empty", b"", Shows({}))
    yield Case("one block of zeros", bytes(512), Shows({}))
    yield Case("a MiB of zeros", bytes(1 << 20), Shows({}))
    yield Case("a lone block of zeros", X + bytes(512) + X, Refused("lone"))
    yield Case("not a tar", b"<html>Not found</html>" * 100, Refused(""))
    yield Case("less than a block", b"x", Refused(""))
    for at in (0, 100, 148, 156, 257, 500):
        broken = bytearray(X)
        broken[at] ^= 0x15
        yield Case(f"byte {at} of a header changed", t.tar(bytes(broken)), Refused(""))
    yield Case("no checksum", t.tar(X[:148] + bytes(8) + X[156:]), Refused("checksum"))
    signed = _signed(t.member(b"\xff" * 9, data=b"x"))
    yield Case("checksum of signed bytes", t.tar(signed), Shows({b"\xff" * 9: file(b"x")}))
    for what, more in (
        ("zeros", bytes(10240)),
        ("rubbish", b"rubbish" * 1000),
        ("a tar", t.tar(X)),
    ):
        yield Case(f"followed by {what}", whole + more, done)


def _signed(member: bytes) -> bytes:
    total = int(member[148:154], 8) - 256 * sum(byte >= 0x80 for byte in member[:512])
    return member[:148] + b"%06o\0 " % total + member[156:]


def compressed() -> Iterator[Case]:
    plain = t.tar(X)
    packed = gzip.compress(plain, mtime=0)
    yield Case("gzip", packed, SHOWS_X)
    yield Case(
        "gzip in two members", gzip.compress(plain[:700]) + gzip.compress(plain[700:]), SHOWS_X
    )
    yield Case("gzip cut", packed[:-20], Refused(""))
    yield Case("gzip cut in its checksum", packed[:-4], Refused(""))
    yield Case("gzip with a wrong CRC", packed[:-8] + b"1234" + packed[-4:], Refused(""))
    yield Case("gzip with a wrong size", packed[:-4] + b"1234", Refused(""))
    yield Case("gzip header only", packed[:10], Refused(""))
    yield Case("gzip, then rubbish", packed + b"rubbish", Refused(""))
    yield Case("gzip, then zeros", packed + bytes(512), SHOWS_X)
    yield Case("gzip of gzip", gzip.compress(packed), Refused(""))
    yield Case("gzip of nothing", gzip.compress(b""), Shows({}))
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    yield Case("gzip damaged", bytes(damaged), Refused(""))
    zstd = t.zstd(plain)
    yield Case("zstd", zstd, SHOWS_X)
    yield Case("zstd in two frames", t.zstd(plain[:700]) + t.zstd(plain[700:]), SHOWS_X)
    yield Case("zstd cut", zstd[:-20], Refused(""))
    yield Case("zstd header only", zstd[:6], Refused(""))
    yield Case("zstd, then rubbish", zstd + b"rubbish", Refused(""))
    yield Case("gzip bomb in a file", _bomb_file, Refused(""), limit=16 << 20)
    yield Case("gzip bomb behind the end", _bomb_behind, Refused(""), limit=16 << 20)
    yield Case("gzip bomb of gzip members", _bomb_members, Refused(""), limit=16 << 20)
    yield Case("zstd bomb in a file", _bomb_zstd, Refused(""), limit=16 << 20)
    yield Case("more than the limit", t.tar(X), Refused(""), limit=0)
    yield Case("just the limit", t.tar(X), SHOWS_X, limit=len(t.tar(X)))


def _bomb_file() -> bytes:
    """A few MiB that become a file of 4 GiB."""
    return _zeros(t.header(b"x", size=4 << 30))


def _bomb_behind() -> bytes:
    """A tar, and 4 GiB of zeros after its end."""
    return _zeros(t.tar(X))


def _bomb_members() -> bytes:
    """The same in 4,096 separate streams."""
    member = gzip.compress(bytes(1 << 20), mtime=0)
    return gzip.compress(t.header(b"x", size=4 << 30)) + member * 4096


def _bomb_zstd() -> bytes:
    """128 KiB that become a file of 4 GiB."""
    return t.zstd_zeros(t.header(b"x", size=4 << 30), 4 << 30)


def _zeros(start: bytes) -> bytes:
    """A gzip stream of `start` and 4 GiB of zeros; whoever reads to its end finds no checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(start + bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, what follows stands for itself and can be repeated.
    return packed + (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * 4095


CASES = (
    *formats(),
    *extended(),
    *damaged_records(),
    *sparse(),
    *sizes(),
    *damaged(),
    *compressed(),
)
