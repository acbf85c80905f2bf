"""Laws for any archive that Python's tarfile can write, in each of its formats."""

from __future__ import annotations

import contextlib
import io
import tarfile
from typing import Any, BinaryIO, Dict, List, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ovl1.errors import LayerError
from ovl1.formats import tarheader, tarsplit, tarstream
from ovl1.formats.tarheader import HeaderParser
from ovl1.formats.whiteouts import clean
from ovl1.layer.export import reassemble
from tests.support.layers import Made, MemoryContents, entry, make_tar

FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
KINDS = st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6"])

# Characters of all widths, and bytes that are not UTF-8; lengths around the fields' ends.
_letters = st.sampled_from(
    ["a", "B", ".", "-", " ", "é", "日", "😀", "\udcff", '"', "<", "\\", "\n"]
)
_part = st.text(_letters, min_size=1, max_size=12).filter(lambda part: part not in (".", ".."))
_path = st.lists(_part, min_size=1, max_size=4).map("/".join)
_long = st.builds("{}/{}".format, _path, st.sampled_from(["n" * 80, "n" * 99, "n/" * 60 + "n"]))
NAMES = st.one_of(_path, _long)
NUMBERS = st.one_of(st.integers(0, 65535), st.integers(0, 1 << 31))


@st.composite
def infos(draw: st.DrawFn) -> Made:
    kind = draw(KINDS)
    fields: Dict[str, Any] = {
        "uid": draw(NUMBERS),
        "gid": draw(NUMBERS),
        "mode": draw(st.integers(0, 0o7777)),
        "mtime": draw(st.integers(0, 1 << 34)),
    }
    if kind == b"0":
        size = draw(st.sampled_from([0, 1, 511, 512, 513, 5000]))
        fields["data"] = draw(st.binary(min_size=1, max_size=3)) * size
    elif kind in (b"1", b"2"):
        fields["linkname"] = draw(NAMES)
    elif kind in (b"3", b"4"):
        fields.update(devmajor=draw(st.integers(0, 4095)), devminor=draw(st.integers(0, 65535)))
    return entry(draw(NAMES), kind, **fields)


ARCHIVES = st.lists(
    infos(), max_size=6, unique_by=lambda info: clean(info.name.encode("utf-8", "surrogateescape"))
)


def written(entries: Sequence[Made], fmt: int) -> bytes:
    """The tar, less the entries that the format cannot hold."""
    kept: List[Made] = []
    for info in entries:
        try:
            info.tobuf(fmt, errors="surrogateescape")
        except ValueError:
            continue
        kept.append(info)
    return make_tar(kept, fmt).read()


def reread(data: bytes) -> List[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        return tar.getmembers()


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@given(ARCHIVES, FORMATS)
def test_headers_are_what_tarfile_reads(entries: List[Made], fmt: int) -> None:
    data = written(entries, fmt)
    ours = [header for header, _ in tarstream.entries(io.BytesIO(data))]
    theirs = reread(data)
    assert len(ours) == len(theirs)
    for header, info in zip(ours, theirs):
        assert clean(header.name) == clean(raw(info.name))
        assert header.kind == info.type.decode()
        assert (header.mode, header.uid, header.gid) == (info.mode, info.uid, info.gid)
        assert (header.size, header.mtime_ns) == (info.size, int(info.mtime) * 10**9)
        assert header.linkname == raw(info.linkname)
        if header.kind in (tarheader.CHAR, tarheader.BLOCK_DEVICE):
            assert (header.major, header.minor) == (info.devmajor, info.devminor)


@given(ARCHIVES, FORMATS, st.binary(max_size=600))
def test_split_then_reassemble_is_the_identity(entries: List[Made], fmt: int, junk: bytes) -> None:
    data = written(entries, fmt) + junk
    out = io.BytesIO()
    assert b"".join(tarsplit.split(io.BytesIO(data), out)) == data
    out.seek(0)
    stored = list(tarsplit.read(out))
    files = {
        clean(header.name).lstrip(b"/"): b"".join(content)
        for header, content in tarstream.entries(io.BytesIO(data))
        if header.kind == tarheader.FILE
    }
    assert b"".join(reassemble(stored, MemoryContents(files))) == data
    headers = [header for header, _ in tarstream.entries(io.BytesIO(data))]
    assert list(tarsplit.headers(stored)) == headers


@given(st.dictionaries(st.text("abc.", min_size=1), st.binary(min_size=1), max_size=3))
def test_attributes_keep_their_bytes(attributes: Dict[str, bytes]) -> None:
    records = b""
    for key, value in attributes.items():
        body = b" SCHILY.xattr." + key.encode() + b"=" + value + b"\n"
        size = next(n for n in range(len(body), len(body) + 9) if len(str(n)) + len(body) == n)
        records += str(size).encode() + body
    extended = tarfile.TarInfo("pax")
    extended.type, extended.size = tarfile.XHDTYPE, len(records)
    padded = records + bytes(-len(records) % 512)
    data = extended.tobuf(tarfile.USTAR_FORMAT) + padded + tarfile.TarInfo("f").tobuf()
    header = HeaderParser(io.BytesIO(data).read).next()
    assert header is not None
    assert header.xattrs == attributes


@settings(max_examples=300)
@given(ARCHIVES, FORMATS, st.data())
def test_no_damage_does_more_than_raise_a_layer_error(
    entries: List[Made], fmt: int, data: st.DataObject
) -> None:
    whole = bytearray(written(entries, fmt))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, min(len(whole), 4096) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    _read_all(io.BytesIO(bytes(whole[: data.draw(st.integers(0, len(whole)))])))


def _read_all(tar: BinaryIO) -> None:
    with contextlib.suppress(LayerError):
        for _ in tarsplit.split(tar, io.BytesIO()):
            pass
