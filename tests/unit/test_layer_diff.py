"""The tar of a layer; tests/docker compares it with a daemon's, to the byte."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from ovl1.errors import LayerError
from ovl1.formats import tarheader, tarwriter
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.tarstream import CHUNK, as_file, entries
from ovl1.layer.diff import diff, native_diff
from ovl1.linux.beneath import Directory
from ovl1.model import IdMaps, IdRange
from ovl1.tree.marks import METACOPY, OPAQUE
from ovl1.tree.view import StackView

pytestmark = pytest.mark.needs("root")

SECOND = 10**9


class Layers(NamedTuple):
    """An image's tree and a container's upper over it."""

    root: Path
    upper: Path

    def diff(self, **options: Any) -> bytes:
        with view(self.upper, self.root) as new, view(self.root) as old:
            return b"".join(diff(new, old, **options))

    def native(self, **options: Any) -> bytes:
        with Directory.open(self.upper) as upper:
            return b"".join(native_diff(upper, **options))


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    made = Layers(tmp_path / "root", tmp_path / "upper")
    made.upper.mkdir()
    (made.root / "dir").mkdir(parents=True)
    for name in ("gone", "dir/gone", "dir/file"):
        (made.root / name).write_text(name)
    return made


def view(*paths: Path) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def read(tar: bytes) -> Dict[bytes, TarEntry]:
    assert tar.endswith(tarwriter.END)
    return {entry.name: entry for entry, _ in entries(as_file([tar]))}


def contents(tar: bytes) -> Dict[bytes, bytes]:
    return {entry.name: b"".join(content) for entry, content in entries(as_file([tar]))}


def whiteout(path: Path, seconds: int) -> None:
    os.mknod(path, stat.S_IFCHR)
    os.utime(path, ns=(0, seconds * SECOND + 7))


def test_nothing_is_an_empty_archive(layers: Layers) -> None:
    assert layers.diff() == layers.native() == bytes(1024)


def test_each_kind_of_entry(layers: Layers) -> None:
    new = layers.upper / "new"
    new.mkdir(mode=0o750)
    (new / "file").write_text("content")
    (new / "file").chmod(0o4711)
    os.chown(new / "file", 5, 6)
    os.chmod(new / "file", 0o4711)
    os.utime(new / "file", ns=(1, 1600000000 * SECOND + 999))
    (new / "link").symlink_to("file")
    os.mkfifo(new / "pipe", 0o600)
    os.mknod(new / "char", stat.S_IFCHR | 0o600, os.makedev(259, 1048575))
    os.mknod(new / "block", stat.S_IFBLK | 0o600, os.makedev(7, 1))
    os.mknod(new / "socket", stat.S_IFSOCK | 0o600)
    left_out: List[bytes] = []
    tar = layers.diff(left_out=left_out.append)
    found = read(tar)
    assert left_out == [b"/new/socket"]
    assert list(found) == [
        *(b"new/", b"new/block", b"new/char", b"new/file", b"new/link", b"new/pipe")
    ]
    assert {name: entry.kind for name, entry in found.items()} == {
        b"new/": tarheader.DIR,
        b"new/block": tarheader.BLOCK_DEVICE,
        b"new/char": tarheader.CHAR,
        b"new/file": tarheader.FILE,
        b"new/link": tarheader.SYMLINK,
        b"new/pipe": tarheader.FIFO,
    }
    file, char = found[b"new/file"], found[b"new/char"]
    assert (file.mode, file.uid, file.gid) == (0o104711, 5, 6)
    assert file.mtime_ns == 1600000000 * SECOND
    assert (char.major, char.minor) == (259, 1048575)
    assert found[b"new/link"].linkname == b"file"
    assert contents(tar)[b"new/file"] == b"content"
    assert layers.native() == tar


def test_a_deletion_has_the_time_of_its_whiteout(layers: Layers) -> None:
    whiteout(layers.upper / "gone", 1500000000)
    (layers.upper / "dir").mkdir()
    whiteout(layers.upper / "dir/gone", 1500000001)
    for docker in (False, True):
        found = read(layers.diff(docker=docker))
        assert list(found) == [b"dir/", b"dir/.wh.gone", b".wh.gone"]
        deletion = found[b"dir/.wh.gone"]
        assert (deletion.kind, deletion.size, deletion.mode) == (tarheader.FILE, 0, 0)
        assert (deletion.uid, deletion.mtime_ns) == (0, 1500000001 * SECOND)


def test_a_deletion_without_a_whiteout_has_the_time_of_its_directory(layers: Layers) -> None:
    (layers.upper / "dir").mkdir()
    os.setxattr(layers.upper / "dir", OPAQUE, b"y")
    os.utime(layers.upper / "dir", ns=(0, 1500000000 * SECOND + 7))
    found = read(layers.diff())
    assert list(found) == [b"dir/", b"dir/.wh.file", b"dir/.wh.gone"]
    assert found[b"dir/.wh.file"].mtime_ns == 1500000000 * SECOND


def test_a_deletion_below_what_docker_takes_for_a_directory(layers: Layers) -> None:
    os.mknod(layers.upper / "dir", stat.S_IFBLK | 0o600, os.makedev(7, 1))
    os.utime(layers.upper / "dir", ns=(0, 5 * SECOND))
    found = read(layers.diff(docker=True))
    assert list(found) == [b"dir", b"dir/.wh.file", b"dir/.wh.gone"]
    assert found[b"dir/.wh.file"].mtime_ns == 5 * SECOND
    assert list(read(layers.diff())) == [b"dir"]


def test_only_the_first_name_of_an_inode_has_its_content(layers: Layers) -> None:
    (layers.upper / "b").write_text("linked")
    os.setxattr(layers.upper / "b", "user.x", b"1")
    (layers.upper / "a").mkdir()
    os.link(layers.upper / "b", layers.upper / "a/z")
    os.symlink("nowhere", layers.upper / "c")
    os.link(layers.upper / "c", layers.upper / "d", follow_symlinks=False)
    found = read(layers.diff())
    assert (found[b"a/z"].kind, found[b"a/z"].size) == (tarheader.FILE, 6)
    assert (found[b"b"].kind, found[b"b"].size) == (tarheader.HARDLINK, 0)
    assert (found[b"b"].linkname, found[b"b"].xattrs) == (b"a/z", {"user.x": b"1"})
    assert (found[b"d"].kind, found[b"d"].linkname) == (tarheader.HARDLINK, b"c")


def test_attributes(layers: Layers) -> None:
    path = layers.upper / "file"
    path.touch()
    capability = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 100000)
    os.setxattr(path, "security.capability", capability)
    os.setxattr(path, "user.note", b"a\0b")
    os.setxattr(path, "trusted.overlay.origin", b"x")
    portable = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    both = {"security.capability": portable, "user.note": b"a\0b"}
    assert read(layers.diff())[b"file"].xattrs == both
    assert read(layers.native())[b"file"].xattrs == both
    only = {"security.capability": portable}
    assert read(layers.diff(docker=True))[b"file"].xattrs == only
    assert read(layers.native(docker=True))[b"file"].xattrs == only


def test_owners_are_the_containers(layers: Layers) -> None:
    maps = IdMaps((IdRange(0, 100000, 1000),), (IdRange(0, 200000, 1000),))
    (layers.upper / "file").touch()
    os.chown(layers.upper / "file", 100007, 200008)
    whiteout(layers.upper / "gone", 1)
    found = read(layers.diff(id_maps=maps))
    assert (found[b"file"].uid, found[b"file"].gid) == (7, 8)
    assert (found[b".wh.gone"].uid, found[b".wh.gone"].gid) == (0, 0)
    assert read(layers.native(id_maps=maps))[b"file"].uid == 7
    os.chown(layers.upper / "file", 0, 0)
    with pytest.raises(LayerError, match="outside the user namespace"):
        layers.diff(id_maps=maps)


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq"])
def test_a_file_with_the_name_of_a_mark_is_refused(layers: Layers, name: str) -> None:
    (layers.upper / name).touch()
    for make in (layers.diff, layers.native):
        with pytest.raises(LayerError, match=r"cannot be in a layer"):
            make()
        assert list(read(make(docker=True))) == [name.encode()]


def test_a_stub_of_a_file_has_its_data_in_the_parent(layers: Layers) -> None:
    """Where only the layer's own directory is looked at, they are not there."""
    (layers.upper / "gone").write_bytes(bytes(len("gone")))
    os.setxattr(layers.upper / "gone", METACOPY, b"")
    assert contents(layers.diff())[b"gone"] == b"gone"
    with pytest.raises(LayerError, match="metacopy"):
        layers.native()


@pytest.mark.parametrize("size", [3 * CHUNK - 1, 3 * CHUNK + 1])
def test_a_file_that_changes_while_it_is_read_is_refused(layers: Layers, size: int) -> None:
    path = layers.upper / "file"
    path.write_bytes(bytes(3 * CHUNK))
    with view(layers.upper, layers.root) as new, view(layers.root) as old:
        chunks = diff(new, old)
        assert [len(next(chunks)) for _ in range(2)] == [512, CHUNK]
        os.truncate(path, size)
        with pytest.raises(LayerError, match="changed while it was read"):
            for _ in chunks:
                pass


def test_chunks_are_small_and_the_same_each_time(layers: Layers) -> None:
    (layers.upper / "file").write_bytes(b"x" * (3 * CHUNK + 5))
    with view(layers.upper, layers.root) as new, view(layers.root) as old:
        chunks = list(diff(new, old))
    assert max(map(len, chunks)) == CHUNK
    assert b"".join(chunks) == layers.diff()
    assert contents(layers.diff())[b"file"] == b"x" * (3 * CHUNK + 5)


def test_the_whole_tree_comes_directory_by_directory(layers: Layers) -> None:
    (layers.upper / "dir-2").mkdir()
    whiteout(layers.upper / "gone", 1)
    with view(layers.upper, layers.root) as new:
        assert list(read(b"".join(diff(new, None)))) == [
            *(b"dir/", b"dir/file", b"dir/gone", b"dir-2/")
        ]
    with view(layers.upper, layers.root) as new, view(layers.root) as old:
        chunks = diff(new, None)
        next(chunks)
        del chunks
        assert list(read(b"".join(diff(new, old)))) == [b"dir-2/", b".wh.gone"]


def test_an_overlay2_layer_is_written_as_it_lies(layers: Layers) -> None:
    upper = layers.upper
    (upper / "dir").mkdir()
    os.chown(upper / "dir", 3, 4)
    (upper / "dir").chmod(0o2750)
    os.setxattr(upper / "dir", OPAQUE, b"y")
    (upper / "dir/file").touch()
    whiteout(upper / "gone", 1500000000)
    # Newer kernels make all whiteouts of a mount names of one inode.
    os.link(upper / "gone", upper / "zone")
    found = read(layers.native(docker=True))
    assert list(found) == [b"dir/", b"dir/.wh..wh..opq", b"dir/file", b".wh.gone", b".wh.zone"]
    mark = found[b"dir/.wh..wh..opq"]
    assert (mark.kind, mark.mode, mark.uid, mark.gid, mark.mtime_ns) == ("0", 0o750, 3, 4, 0)
    for name, target in ((b".wh.gone", b""), (b".wh.zone", b"gone")):
        hiding = found[name]
        assert (hiding.kind, hiding.mode, hiding.size) == ("0", 0o600, 0)
        assert (hiding.mtime_ns, hiding.linkname) == (1500000000 * SECOND, target)


def test_nothing_stays_open(layers: Layers) -> None:
    (layers.upper / "new").mkdir()
    (layers.upper / "new/file").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    for old in (layers.root, None):
        broken_off(layers, old)
    with Directory.open(layers.upper) as upper:
        chunks: Iterator[bytes] = native_diff(upper)
        next(chunks)
        del chunks
    assert len(os.listdir("/proc/self/fd")) == before


def broken_off(layers: Layers, parent: Optional[Path]) -> None:
    """Stop reading a diff half-way."""
    with view(layers.upper, layers.root) as new, view(parent or layers.root) as old:
        chunks = diff(new, old if parent else None)
        next(chunks)
        del chunks


def test_no_byte_is_written_to_the_source(layers: Layers) -> None:
    (layers.upper / "file").write_text("x")
    everything = sorted(layers.upper.parent.rglob("*"))
    before = [path.lstat().st_ctime_ns for path in everything]
    assert layers.diff() == layers.native()
    assert [path.lstat().st_ctime_ns for path in everything] == before
