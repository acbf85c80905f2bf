"""Headers as Go writes them: what tests/docker compares with a daemon's, here without one."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ovl1.errors import LayerError
from ovl1.formats import tarheader
from ovl1.formats.tarheader import HeaderParser, TarEntry
from ovl1.formats.tarwriter import END, header, padding

SECOND = 10**9


def entry(name: bytes, kind: str = tarheader.FILE, **fields: Any) -> TarEntry:
    return TarEntry(name, kind, **fields)


def test_a_plain_header_to_the_byte() -> None:
    made = header(
        entry(b"meta/mode", mode=0o104711, uid=7, gid=8, size=4, mtime_ns=1600000000 * SECOND)
    )
    fields = [
        (0, b"meta/mode\0"),
        (100, b"0104711\x000000007\x000000010\0"),
        (124, b"00000000004\x0013727410000\0"),
        (148, b"010714\0 0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\x000000000\0"),
    ]
    expected = bytearray(512)
    for at, data in fields:
        expected[at : at + len(data)] = data
    expected[148:154] = b"%06o" % (sum(expected[:148]) + sum(expected[156:]) + 8 * 32)
    assert made == bytes(expected)


def test_an_extended_header_to_the_byte() -> None:
    made = header(entry("café/é".encode(), mode=0o100644, xattrs={"security.capability": b"a\0b"}))
    body = b"40 SCHILY.xattr.security.capability=a\0b\n17 path=caf\xc3\xa9/\xc3\xa9\n"
    block, records, main = made[:512], made[512:1024], made[1024:]
    assert block[:100].rstrip(b"\0") == b"caf/PaxHeaders.0"
    assert block[100:148] == b"0000000\0" * 3 + b"%011o\0" % len(body) + b"00000000000\0"
    assert block[156:157] == b"x"
    assert block[329:] == bytes(183), "it has no device number, not even zero"
    assert records == body.ljust(512, b"\0")
    assert main[:100].rstrip(b"\0") == b"caf/"
    assert len(main) == 512


def extended(made: bytes) -> bool:
    return made[156:157] == b"x"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        (b"n" * 100, b""),
        (b"d" * 50 + b"/" + b"n" * 50, b"d" * 50),
        (b"d" * 155 + b"/" + b"n" * 100, b"d" * 155),
        (b"d/" * 60 + b"n", b"d/" * 59 + b"d"),
        # A directory's own slash is no place to split at.
        (b"d" * 60 + b"/" + b"n" * 40 + b"/", b"d" * 60),
    ],
)
def test_a_long_name_is_split_where_it_can_be(name: bytes, prefix: bytes) -> None:
    kind = tarheader.DIR if name.endswith(b"/") else tarheader.FILE
    made = header(entry(name, kind))
    assert not extended(made)
    assert made[345:500].rstrip(b"\0") == prefix
    assert parsed(made).name == name


@pytest.mark.parametrize(
    "name",
    [
        b"n" * 101,
        b"d" * 156 + b"/n",
        b"d/" + b"n" * 101,
        b"/" + b"n" * 100,
        b"n" * 100 + b"/",
        "é".encode() * 10,
        b"not utf-8 \xff",
    ],
)
def test_a_name_that_cannot_be_split_is_a_record(name: bytes) -> None:
    kind = tarheader.DIR if name.endswith(b"/") else tarheader.FILE
    made = header(entry(name, kind))
    assert extended(made)
    assert made[-512:][345:500] == bytes(155)
    assert parsed(made).name == name


def test_a_long_name_that_could_be_split_is_a_record_beside_another_one() -> None:
    name = b"d" * 60 + b"/" + b"n" * 60
    made = header(entry(name, uid=1 << 21))
    assert extended(made)
    assert b" path=" + name + b"\n" in made
    assert made[:100] == b"d" * 60 + b"/PaxHeaders.0/" + b"n" * 26
    assert made[-512:][:100] == name[:100]


def test_a_cut_name_does_not_end_in_a_slash() -> None:
    name = b"d" * 99 + b"/" + b"n" * 200
    assert header(entry(name))[-512:][:101] == b"d" * 99 + b"\0" + b"0"
    target = b"d" * 98 + b"//" + b"n" * 10
    main = header(entry(b"l", tarheader.SYMLINK, linkname=target))[-512:]
    assert main[157:257] == b"d" * 98 + b"\0/", "as Go leaves it"


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        ({"uid": (1 << 21) - 1}, b""),
        ({"uid": 1 << 21}, b"15 uid=2097152\n"),
        ({"gid": 4294967294}, b"18 gid=4294967294\n"),
        ({"size": (1 << 33) - 1}, b""),
        ({"size": 1 << 33}, b"19 size=8589934592\n"),
        ({"mtime_ns": ((1 << 33) - 1) * SECOND}, b""),
        ({"mtime_ns": (1 << 33) * SECOND}, b"20 mtime=8589934592\n"),
        ({"mtime_ns": -SECOND}, b"12 mtime=-1\n"),
        ({"mtime_ns": -SECOND // 2}, b"14 mtime=-0.5\n"),
        ({"mtime_ns": SECOND + 1}, b"21 mtime=1.000000001\n"),
        ({"atime_ns": 0}, b"11 atime=0\n"),
        ({"xattrs": {"user.b": b"=\n", "user.a": b""}}, b"24 SCHILY.xattr.user.a=\n"),
    ],
)
def test_what_a_field_cannot_hold_is_a_record(fields: dict[str, Any], record: bytes) -> None:
    made = header(entry(b"name", **fields))
    assert extended(made) == bool(record)
    assert record in made[512:]
    if "size" in fields and record:
        assert made[-512:][124:136] == b"00000000000\0"


def test_the_length_of_a_record_counts_itself() -> None:
    for size in range(60, 120):
        made = header(entry(b"n", xattrs={"user.x": b"v" * size}))
        length = int(made[512:].split(b" ")[0])
        assert made[512 + length - 1 : 512 + length] == b"\n"
        assert not any(made[512 + length : 1024])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (entry(b"name/"), "slash"),
        (entry(b"n\0"), "record"),
        (entry(b"n", mode=1 << 21), "too large"),
        (entry(b"n", xattrs={"user.a=b": b""}), "record"),
        (entry(b"n", xattrs={f"user.{n}": bytes(65536) for n in range(17)}), "extended header"),
    ],
)
def test_what_no_tar_can_say_is_refused(bad: TarEntry, why: str) -> None:
    with pytest.raises(LayerError) as caught:
        header(bad)
    assert why in str(caught.value)


def test_the_end_and_the_padding() -> None:
    assert bytes(1024) == END
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


def parsed(made: bytes) -> TarEntry:
    stream = io.BytesIO(made)
    found = HeaderParser(stream.read).next()
    assert found is not None
    assert not stream.read(), "the header ends where the content begins"
    return found


_names = st.lists(
    st.binary(min_size=1, max_size=130).filter(lambda part: not {0, 47} & set(part)),
    min_size=1,
    max_size=5,
).map(b"/".join)
_numbers = st.one_of(st.integers(0, 1 << 22), st.integers(0, 1 << 32))


@st.composite
def entries(draw: st.DrawFn) -> TarEntry:
    kind = draw(st.sampled_from("0123456"))
    size = draw(st.integers(0, 1 << 40)) if kind == tarheader.FILE else 0
    return TarEntry(
        name=draw(_names) + (b"/" if kind == tarheader.DIR else b""),
        kind=kind,
        mode=draw(st.integers(0, 0o177777)),
        uid=draw(_numbers),
        gid=draw(_numbers),
        size=size,
        stored=size,
        mtime_ns=draw(st.integers(-(1 << 40), 1 << 34)) * SECOND + draw(st.integers(0, SECOND - 1)),
        atime_ns=draw(st.none() | st.integers(-(1 << 60), 1 << 62)),
        linkname=draw(_names) if kind in "12" else b"",
        major=draw(st.integers(0, 4095)),
        minor=draw(st.integers(0, 1048575)),
        xattrs=draw(
            st.dictionaries(st.sampled_from(("user.é", "a.b")), st.binary(min_size=1), max_size=2)
        ),
    )


@given(entries())
@example(entry(b"n" * 100 + b"/", tarheader.DIR))
def test_what_is_written_is_read_back(made: TarEntry) -> None:
    assert parsed(header(made)) == made


@given(entries())
def test_tarfile_reads_the_same(made: TarEntry) -> None:
    with tarfile.open(fileobj=io.BytesIO(header(made) + END), errors="surrogateescape") as tar:
        info = tar.next()
    assert info is not None
    assert info.name.encode("utf-8", "surrogateescape") == made.name.rstrip(b"/")
    assert info.linkname.encode("utf-8", "surrogateescape") == made.linkname
    assert (info.uid, info.gid, info.size) == (made.uid, made.gid, made.size)
    assert info.mode == made.mode & 0o7777 or info.mode == made.mode


def test_names_of_owners() -> None:
    named = entry(b"f", mode=0o100644, uname=b"root", gname=b"wheel")
    block = header(named)
    assert (block[265:269], block[297:302]) == (b"root", b"wheel")
    with tarfile.open(fileobj=io.BytesIO(block + END)) as tar:
        (member,) = tar.getmembers()
    assert (member.uname, member.gname) == ("root", "wheel")
    strange = replace(named, uname="ä".encode(), gname=b"g" * 33)
    with tarfile.open(fileobj=io.BytesIO(header(strange) + END)) as tar:
        (member,) = tar.getmembers()
    assert (member.uname, member.gname) == ("ä", "g" * 33)
