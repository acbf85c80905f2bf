"""Re-assembly: bit for bit what the daemon was given, or the name of the file that prevents it."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Dict, List

import pytest

from ovl1.errors import LayerError
from ovl1.formats import tarsplit
from ovl1.formats.tarsplit import Entry
from ovl1.formats.whiteouts import clean
from ovl1.layer.export import Problem, TreeContents, ViewContents, check, diff_id, reassemble
from ovl1.linux.beneath import Directory
from ovl1.model import DiffId
from ovl1.tree.view import Cursor, StackView
from tests.support.layers import MemoryContents, Recorded, entry, make_tar, recorded


def split(tar: bytes) -> List[Entry]:
    out = io.BytesIO()
    assert b"".join(tarsplit.split(io.BytesIO(tar), out)) == tar
    out.seek(0)
    return list(tarsplit.read(out))


def write(root: Path, files: Dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


FILES = {"etc/passwd": b"root" * 400000, "etc/group": b"g", "bin/sh": b"s" * 513}
TAR = make_tar([entry("etc/", b"5"), *(entry(name, data=data) for name, data in FILES.items())])
WHOLE = TAR.read()
ENTRIES = split(WHOLE)
DIFF_ID = DiffId("sha256:" + hashlib.sha256(WHOLE).hexdigest())


@pytest.mark.parametrize(
    "layer", [each for each in recorded() if each.contents], ids=lambda layer: layer.name
)
def test_layers_of_real_daemons(layer: Recorded) -> None:
    assert layer.contents
    contents = MemoryContents({clean(name): data for name, data in layer.contents.items()})
    assert diff_id(layer.entries(), contents) == layer.diff_id
    assert check(layer.entries(), contents, layer.diff_id) == []


def test_a_layer_with_aufs_links_cannot_be_saved() -> None:
    (layer,) = (each for each in recorded() if each.name == "aufs-plnk")
    problems = check(layer.entries(), MemoryContents({}), layer.diff_id)
    assert [problem.name for problem in problems] == [b".wh..wh.plnk/100.200"]


def test_from_a_tree_and_from_a_view(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    with Directory.open(tmp_path) as root, TreeContents(root) as tree:
        chunks = list(reassemble(ENTRIES, tree))
    assert b"".join(chunks) == WHOLE
    assert max(map(len, chunks)) <= 1 << 20
    (tmp_path / "upper").mkdir()
    layers = [Directory.open(tmp_path / "upper"), Directory.open(tmp_path)]
    with StackView(layers) as view, Cursor(view) as cursor:
        assert diff_id(ENTRIES, ViewContents(cursor)) == DIFF_ID


def test_all_problems_are_collected(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "etc/passwd": b"toor" * 400000, "etc/group": b"gg"})
    (tmp_path / "bin/sh").unlink()
    with Directory.open(tmp_path) as root, TreeContents(root) as tree:
        assert check(ENTRIES, tree, DIFF_ID) == [
            Problem(b"etc/passwd", "content of 'etc/passwd' does not match what the layer had"),
            Problem(b"etc/group", "content of 'etc/group' does not match what the layer had"),
            Problem(b"bin/sh", "the layer's file 'bin/sh' is not in its tree"),
        ]
        with pytest.raises(LayerError, match="content of 'etc/passwd'"):
            diff_id(ENTRIES, tree)


def test_wrong_raw_parts_show_in_the_whole(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    other = DiffId("sha256:" + "0" * 64)
    with Directory.open(tmp_path) as root, TreeContents(root) as tree:
        (problem,) = check(ENTRIES, tree, other)
        assert check(ENTRIES, tree) == []
    assert problem == Problem(b"", f"the layer's tar is {DIFF_ID}, not {other}")


@pytest.mark.parametrize("target", ["real", "/real", "../../real", "hop", "./hop/../hop/."])
def test_a_linked_parent_is_followed_within_the_tree(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    write(root, {"real/f": b"inside", "real/x": b""})
    (root / "hop").symlink_to("/real")
    (root / "link").symlink_to(target)
    entries = split(make_tar([entry("link/f", data=b"inside")]).read())
    with Directory.open(root) as directory:
        with TreeContents(directory) as tree:
            assert check(entries, tree) == []
        with StackView([directory.descend(())]) as view, Cursor(view) as cursor:
            assert check(entries, ViewContents(cursor)) == []


@pytest.mark.parametrize("target", ["loop", "../outside", "/../outside", "missing", "file"])
def test_no_link_leads_out_of_the_tree(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    write(tmp_path, {"outside/f": b"inside", "root/file": b""})
    (root / "loop").symlink_to("loop")
    (root / "link").symlink_to(target)
    entries = split(make_tar([entry("link/f", data=b"inside")]).read())
    with Directory.open(root) as directory:
        with TreeContents(directory) as tree:
            assert [each.name for each in check(entries, tree)] == [b"link/f"]
        with StackView([directory.descend(())]) as view, Cursor(view) as cursor:
            assert [each.name for each in check(entries, ViewContents(cursor))] == [b"link/f"]


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "target").write_bytes(b"1")
    place = tmp_path / "f"
    if kind == "link":
        place.symlink_to("target")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    entries = split(make_tar([entry("f", data=b"1")]).read())
    with Directory.open(tmp_path) as root, TreeContents(root) as tree:
        (problem,) = check(entries, tree)
    assert problem.brief == "the layer's file 'f' is not in its tree"


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    entries = split(make_tar([entry("../f", data=b"1")]).read())
    with Directory.open(tmp_path) as root, TreeContents(root) as tree:
        (problem,) = check(entries, tree)
    assert "leads out" in problem.brief


def test_a_link_that_claims_a_size_has_no_content() -> None:
    whole = bytearray(make_tar([entry("link", b"1", linkname="f")]).read())
    whole[124:136] = b"00000000005\0"
    whole[148:156] = b" " * 8
    whole[148:156] = b"%06o\0 " % sum(whole[:512])
    entries = split(bytes(whole))
    contents = MemoryContents({b"f": b"12345", b"link": b"12345"})
    assert b"".join(reassemble(entries, contents)) == whole


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    before = len(os.listdir("/proc/self/fd"))
    with Directory.open(tmp_path) as root, TreeContents(root) as tree:
        check(ENTRIES, tree)
        chunks = reassemble(ENTRIES, tree)
        next(chunks)
        del chunks
    assert len(os.listdir("/proc/self/fd")) == before
