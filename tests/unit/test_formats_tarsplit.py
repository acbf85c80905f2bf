"""tar-split: real files are read, written back byte for byte, and damage is named."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from typing import Dict, List

import pytest

from ovl1.errors import LayerError
from ovl1.formats import tarheader, tarsplit
from ovl1.formats.tarsplit import Entry, FileEntry, Raw
from ovl1.formats.tarstream import as_file
from ovl1.formats.whiteouts import clean
from ovl1.layer.export import reassemble
from tests.support.layers import MemoryContents, Recorded, entry, make_tar, recorded

LAYERS = recorded()
by_name = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)


def json_lines(compressed: bytes) -> List[Dict[str, object]]:
    return [json.loads(line) for line in gzip.decompress(compressed).splitlines()]


def packed(*lines: object) -> io.BytesIO:
    text = b"".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
    )
    return io.BytesIO(gzip.compress(text))


@by_name
def test_every_header_is_followed_by_its_file_entry(layer: Recorded) -> None:
    entries = layer.entries()
    headers = list(tarsplit.headers(entries))
    files = [each for each in entries if isinstance(each, FileEntry)]
    assert [header.name for header in headers] == [file.name for file in files]
    assert all(len(file.crc64) == (8 if file.size else 0) for file in files)


@by_name
def test_written_back_it_is_the_same(layer: Recorded) -> None:
    out = io.BytesIO()
    with tarsplit.Writer(out) as writer:
        for each in layer.entries():
            if isinstance(each, Raw):
                writer.raw(each.payload)
            else:
                writer.file(*each)
    assert gzip.decompress(out.getvalue()) == gzip.decompress(layer.file().read())


@pytest.mark.parametrize(
    "layer", [each for each in LAYERS if each.contents is not None], ids=lambda layer: layer.name
)
def test_split_does_what_docker_did(layer: Recorded) -> None:
    contents = MemoryContents({clean(name): data for name, data in (layer.contents or {}).items()})
    out = io.BytesIO()
    digest = hashlib.sha256()
    for chunk in tarsplit.split(as_file(reassemble(layer.entries(), contents)), out):
        digest.update(chunk)
    assert f"sha256:{digest.hexdigest()}" == layer.diff_id
    ours, theirs = json_lines(out.getvalue()), json_lines(layer.file().read())
    if layer.name == "docker-1.12":
        # Until 1.12 what follows the end was one record, without an empty one at the end.
        ours.pop()
    assert ours == theirs


def test_the_headers_hold_all_that_a_layer_needs() -> None:
    (layer,) = (layer for layer in LAYERS if layer.name == "base-many-kinds")
    headers = {header.name: header for header in tarsplit.headers(layer.entries())}
    assert headers[b"bin/busybox"].size == 1982256
    assert {header.kind for header in headers.values()} >= {
        tarheader.FILE,
        tarheader.DIR,
        tarheader.SYMLINK,
        tarheader.HARDLINK,
        tarheader.CHAR,
        tarheader.FIFO,
    }
    assert any(header.xattrs for header in headers.values())


def test_names_are_escaped_as_go_does() -> None:
    name = '<&>"\\\n\r\t\x01\x7f\u2028é'.encode()
    out = io.BytesIO()
    with tarsplit.Writer(out) as writer:
        writer.file(name, 0, b"")
        writer.file(b"caf\xe9", 3, b"12345678")
    lines = gzip.decompress(out.getvalue()).splitlines()
    assert lines[0] == (
        rb'{"type":1,"name":"\u003c\u0026\u003e\"\\\n\r\t\u0001' + b"\x7f"
        rb"\u2028" + "é".encode() + b'","payload":null,"position":0}'
    )
    assert lines[1] == (
        b'{"type":1,"name_raw":"Y2Fm6Q==","size":3,"payload":"MTIzNDU2Nzg=","position":1}'
    )
    out.seek(0)
    assert [each.name for each in tarsplit.read(out) if isinstance(each, FileEntry)] == [
        name,
        b"caf\xe9",
    ]


def test_checksum_is_that_of_go() -> None:
    assert tarsplit.crc64(b"123456789") == 0xB90956C775A41001
    assert tarsplit.crc64(b"6789", tarsplit.crc64(b"12345")) == tarsplit.crc64(b"123456789")
    assert tarsplit.crc64(b"").to_bytes(8, "big") == tarsplit.NO_CONTENT


RAW = {"type": 2, "payload": "", "position": 0}
DAMAGE = [
    (packed({**RAW, "type": 3}), "entry 0 is damaged"),
    (packed(RAW, {**RAW, "position": 2}), "entry 1 is damaged"),
    (packed({**RAW, "payload": "@@@@"}), "entry 0 is damaged"),
    (packed({**RAW, "payload": 1}), "entry 0 is damaged"),
    (packed({"type": 1, "name": "a", "size": -1, "payload": None, "position": 0}), "entry 0"),
    (packed({"type": 1, "name": "a", "size": 1, "payload": None, "position": 0}), "no CRC-64"),
    (packed({"type": 1, "name": 1, "payload": None, "position": 0}), "not a string"),
    (packed({"type": True, "payload": None, "position": 0}), "not a number"),
    (packed([]), "not a JSON object"),
    (packed(RAW, b'{"type":2'), "entry 1 is damaged"),
    (packed(b"\xff\n"), "entry 0 is damaged"),
    (packed(b"[" * 100000), "entry 0 is damaged"),
    (
        packed(
            {"type": 1, "name": "a", "payload": None, "position": 0},
            {"type": 1, "name": "./a/", "payload": None, "position": 1},
        ),
        "twice",
    ),
    (io.BytesIO(), "the file is empty"),
    (io.BytesIO(b"not gzip"), "after entry -1"),
    (io.BytesIO(packed(*([RAW] * 1)).getvalue()[:-8]), "after entry"),
]


@pytest.mark.parametrize(("file", "message"), DAMAGE)
def test_damage_is_named(file: io.BytesIO, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        list(tarsplit.read(file))
    assert message in str(caught.value)


def test_a_tar_of_no_bytes_has_an_empty_list() -> None:
    assert list(tarsplit.read(packed())) == []


def test_headers_that_disagree_are_refused() -> None:
    (layer,) = (layer for layer in LAYERS if layer.name == "buildkit")
    entries = layer.entries()
    place = next(at for at, each in enumerate(entries) if isinstance(each, FileEntry) and each.size)
    whole = entries[place]
    assert isinstance(whole, FileEntry)
    for wrong in (whole._replace(size=whole.size + 1), whole._replace(name=b"other")):
        with pytest.raises(LayerError, match="no header for"):
            list(tarsplit.headers([*entries[:place], wrong]))
    with pytest.raises(LayerError, match="bad tar header"):
        list(tarsplit.headers([Raw(b"x" * 512), whole]))
    with pytest.raises(LayerError, match="no header for"):
        list(tarsplit.headers([whole]))


def test_a_name_that_docker_1_8_lost_comes_from_the_header() -> None:
    tar = make_tar([entry("caf\udce9")], tarfile.GNU_FORMAT)
    lost = FileEntry("caf\N{REPLACEMENT CHARACTER}".encode(), 0, b"")
    (header,) = tarsplit.headers([Raw(tar.read(512)), lost])
    assert header.name == b"caf\xe9"


def test_global_headers_old_and_new() -> None:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}
    ) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    data = out.getvalue()
    split = io.BytesIO()
    assert b"".join(tarsplit.split(io.BytesIO(data), split)) == data
    split.seek(0)
    new = list(tarsplit.read(split))
    size = next(tarsplit.headers(new)).stored
    name = next(each.name for each in new if isinstance(each, FileEntry))
    old: List[Entry] = [
        Raw(data[:512]),
        FileEntry(name, size, b"12345678"),
        Raw(data[512 + size : 1536]),
    ]
    both: List[List[Entry]] = [new, [*old, FileEntry(b"a", 0, b"")]]
    for entries in both:
        assert [header.kind for header in tarsplit.headers(entries)] == ["g", "0"]


def test_a_global_header_that_is_cut_short() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"comment": "x"}):
        pass
    with pytest.raises(LayerError, match="cut short"):
        list(tarsplit.split(io.BytesIO(out.getvalue()[:515]), io.BytesIO()))
    raw = Raw(out.getvalue()[:515])
    with pytest.raises(LayerError, match="no header for"):
        list(tarsplit.headers([raw, FileEntry(b"././@PaxHeader", 0, b"")]))


def test_split_refuses_what_docker_could_not_read_back() -> None:
    twice = make_tar([entry("a"), entry("./a")])
    with pytest.raises(LayerError, match="twice"):
        list(tarsplit.split(twice, io.BytesIO()))
    keys = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "100"}
    sparse = entry("a", pax_headers=keys)
    with pytest.raises(LayerError, match="sparse"):
        list(tarsplit.split(make_tar([sparse]), io.BytesIO()))
    whole = make_tar([entry("a", data=b"1" * 1000)]).read()
    with pytest.raises(LayerError, match="cut short"):
        list(tarsplit.split(io.BytesIO(whole[:1000]), io.BytesIO()))


def test_what_follows_the_end_is_kept_in_pieces() -> None:
    tail = b"j" * ((1 << 20) + 5)
    tar = make_tar([entry("a")]).read()[:1536] + tail
    out = io.BytesIO()
    assert b"".join(tarsplit.split(io.BytesIO(tar), out)) == tar
    sizes = [
        len(base64.b64decode(str(line["payload"] or ""))) for line in json_lines(out.getvalue())
    ]
    assert sizes == [512, 0, 1024, 1 << 20, 5, 0]
