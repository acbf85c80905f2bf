"""Clones: everything shared that can be, nothing lost, and the source as it was."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path
from typing import Iterator, List

import hypothesis
import pytest

from ovl1.linux import libc
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.tree import clone as module
from ovl1.tree.clone import Cloned
from ovl1.tree.marks import OPAQUE
from tests.support.clones import cloned, entries, scratch
from tests.support.inode_flags import give_to_project, immutable
from tests.support.trees import Change, change, changes, furnish, shown

pytestmark = [pytest.mark.needs("root", "loop", "mkfs.ext4")]

KINDS = [
    "ext4",
    pytest.param("xfs", marks=pytest.mark.needs("mkfs.xfs")),
    pytest.param("btrfs", marks=pytest.mark.needs("mkfs.btrfs")),
]
MKFS = {"ext4": ["-I", "256", "-N", "20000"], "xfs": [], "btrfs": []}
MOST_LINKS_OF_EXT4 = 65000


@pytest.fixture(scope="module", params=KINDS)
def disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    kind = request.param
    base = tmp_path_factory.mktemp("clone")
    with loop_file_system(kind, base, 1 << 30, mkfs_options=MKFS[kind]) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("clone")
    with loop_file_system("ext4", base, 1 << 30, mkfs_options=MKFS["ext4"]) as mounted:
        yield mounted


@pytest.fixture
def place(disk: Path) -> Path:
    return scratch(disk)


@pytest.fixture(params=[1, 2, 3])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many; they are put to work however small the tree is."""
    monkeypatch.setattr(module, "_WORTH_FORKING", 0)
    number: int = request.param
    return number


def assert_same(place: Path) -> None:
    assert shown(place / "target") == shown(place / "source")


def test_all_kinds_are_shared(place: Path, workers: int) -> None:
    source = place / "source"
    (source / "dir/empty").mkdir(parents=True)
    (source / "file").write_bytes(b"x")
    (source / "link").symlink_to("nowhere")
    os.mkfifo(source / "dir/fifo")
    os.mknod(source / "dir/char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(source / "dir/block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    os.mknod(source / "dir/whiteout", stat.S_IFCHR, os.makedev(0, 0))
    with socket.socket(socket.AF_UNIX) as listener, Directory.open(source) as here:
        listener.bind(f"/proc/self/fd/{here.fd}/socket")
    assert cloned(place, workers) == Cloned(linked=7)
    assert_same(place)
    for path in source.rglob("*"):
        twin = place / "target" / path.relative_to(source)
        assert os.path.samestat(path.lstat(), twin.lstat()) == (not path.is_dir())


def test_a_directory_is_copied_whole(place: Path, workers: int) -> None:
    directory = place / "source/a/b"
    directory.mkdir(parents=True)
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, rights, who)
        for tag, rights, who in (
            (1, 7, 0xFFFFFFFF),
            (2, 5, 1234),
            (4, 5, 0xFFFFFFFF),
            (16, 5, 0xFFFFFFFF),
            (32, 0, 0xFFFFFFFF),
        )
    )
    attributes = {
        "system.posix_acl_access": acl,
        "system.posix_acl_default": acl,
        "security.capability": struct.pack("<5I", 0x02000000, 1 << 13, 0, 0, 0),
        "security.selinux": b"system_u:object_r:x:s0\0",
        "user.empty": b"",
        "user.bytes": bytes(range(256)),
        "trusted.own": b"y",
    }
    (directory / "below").mkdir()  # Before the default ACL, which it would inherit.
    for path in (directory, place / "source"):
        os.chown(path, 70000, 80000)
        for name, value in attributes.items():
            os.setxattr(path, name, value)
        os.setxattr(path, OPAQUE, b"y")
        os.chmod(path, 0o3751)
        os.utime(path, ns=(5 * 10**9 + 7, 6 * 10**9 + 9))
    cloned(place, workers)
    for name in ("target/a/b", "target"):
        status = (place / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode) == (70000, 80000, 0o43751)
        assert (status.st_atime_ns, status.st_mtime_ns) == (5 * 10**9 + 7, 6 * 10**9 + 9)
        found = {x: os.getxattr(place / name, x) for x in os.listxattr(place / name)}
        assert found.keys() >= attributes.keys()  # xfs shows its ACLs twice
        assert found == {
            x: os.getxattr(directory, x) for x in os.listxattr(directory) if x != OPAQUE
        }
    assert_same(place)  # Last, because it reads, which changes access times.


def test_what_a_target_has_inherited_is_not_kept(place: Path, workers: int) -> None:
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, rights, 0xFFFFFFFF) for tag, rights in ((1, 7), (4, 7), (32, 7))
    )
    os.setxattr(place, "system.posix_acl_default", acl)
    place.chmod(0o2755)
    os.chown(place, 0, 100)
    (place / "target").rmdir()
    (place / "target").mkdir()
    (place / "source/a/b").mkdir(parents=True)
    (place / "source/a").chmod(0o755)
    cloned(place, workers)
    assert_same(place)
    assert os.listxattr(place / "target/a/b") == []


def test_names_of_any_bytes(place: Path, workers: int) -> None:
    top = os.fsencode(place / "source")
    names = [bytes([byte]) for byte in range(1, 256) if byte not in b"./"]
    names += [b"\xff" * 255, b"...", b"-rf", b"\xf0\x9f\x98\x80", b"\xc3\x28", b"a\nb"]
    for name in names:
        os.mkdir(os.path.join(top, b"d" + name[:254]))
        os.close(os.open(os.path.join(top, b"d" + name[:254], name), os.O_CREAT, 0o600))
    assert cloned(place, workers) == Cloned(linked=len(names))
    assert_same(place)


def test_the_source_stays_as_it_is(place: Path, workers: int) -> None:
    furnish(place / "source")
    before = shown(place / "source")
    owners = {path: path.lstat() for path in (place / "source").rglob("*")}
    cloned(place, workers)
    assert shown(place / "source") == before
    for path, status in owners.items():
        links = 0 if stat.S_ISDIR(status.st_mode) else names_in(place / "source", status.st_ino)
        assert path.lstat().st_nlink == status.st_nlink + links


def names_in(root: Path, inode: int) -> int:
    return sum(path.lstat().st_ino == inode for path in root.rglob("*"))


@pytest.mark.parametrize("crowd", [0, 1, 2, 3, 4])
def test_what_has_too_many_links_is_copied_once(ext4: Path, workers: int, crowd: int) -> None:
    """`crowd`: how many of four links are there no more."""
    place = scratch(ext4)
    (place / "elsewhere").mkdir()
    file = place / "source/file"
    (place / "source/a/b").mkdir(parents=True)
    (place / "source/c").mkdir()
    file.write_bytes(b"content")
    file.chmod(0o4750)
    os.utime(file, ns=(1, 2))
    for name in ("a/second", "a/b/third", "c/fourth"):
        os.link(file, place / "source" / name)
    for number in range(MOST_LINKS_OF_EXT4 - 8 + crowd):
        os.link(file, place / "elsewhere" / str(number))
    (place / "source/other").touch()
    before = shown(place / "source")
    done = cloned(place, workers)
    assert done == (Cloned(linked=1, copied=4) if crowd else Cloned(linked=5))
    assert shown(place / "target") == before == shown(place / "source")
    copy = (place / "target/file").lstat()
    assert (copy.st_ino != file.lstat().st_ino) == bool(crowd)
    assert copy.st_nlink == (4 if crowd else MOST_LINKS_OF_EXT4)
    assert file.lstat().st_nlink == MOST_LINKS_OF_EXT4 - (4 - crowd if crowd else 0)


def test_what_is_immutable_is_copied_once(place: Path, workers: int) -> None:
    source = place / "source"
    (source / "a").mkdir()
    (source / "b").mkdir()
    content = os.urandom(10000)
    (source / "a/file").write_bytes(content)
    os.setxattr(source / "a/file", "user.x", b"y")
    os.link(source / "a/file", source / "b/again")
    (source / "b/other").touch()
    os.utime(source / "b", ns=(3, 4))
    with immutable(source / "a/file"):
        done = cloned(place, workers)
    shares_blocks = can_reflink(place)
    assert done == Cloned(1, reflinked=2 * shares_blocks, copied=2 * (not shares_blocks))
    assert_same(place)
    copy = place / "target/a/file"
    assert copy.stat().st_ino != (source / "a/file").stat().st_ino
    assert copy.stat().st_nlink == 2
    copy.write_bytes(b"changed")
    assert (source / "b/again").read_bytes() == content


def can_reflink(place: Path) -> bool:
    with (place / "one").open("wb+") as one, (place / "two").open("wb") as two:
        one.write(b"x" * 4096)
        one.flush()
        with contextlib.suppress(OSError):
            libc.clone_file(one.fileno(), two.fileno())
            return True
    return False


@pytest.mark.parametrize("disk", KINDS[1:2], indirect=True)
def test_what_belongs_to_another_project_is_copied(place: Path, workers: int) -> None:
    """On xfs, since ext4 needs a kernel with quotas; xfs lets go what can have no project."""
    furnish(place / "source")
    before = shown(place / "source")
    give_to_project(place / "target", 42)
    done = cloned(place, workers)
    assert shown(place / "target") == before == shown(place / "source")
    files = [path for path in (place / "source").rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    assert 0 <= done.linked <= entries(place / "source") - len(files)
    assert done.reflinked + done.copied == entries(place / "source") - done.linked
    for path in files:
        twin = place / "target" / path.relative_to(place / "source")
        assert twin.stat().st_ino != path.stat().st_ino


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(todo=changes)
def test_any_tree(ext4: Path, monkeypatch: pytest.MonkeyPatch, todo: List[Change]) -> None:
    monkeypatch.setattr(module, "_WORTH_FORKING", 0)
    with tempfile.TemporaryDirectory(dir=ext4) as name:
        place = Path(name)
        (place / "source").mkdir()
        furnish(place / "source")
        change(place / "source", todo)
        before = shown(place / "source")
        for workers in (1, 2):
            target = place / "target"
            target.mkdir(exist_ok=True)
            assert cloned(place, workers) == Cloned(linked=entries(place / "source"))
            assert shown(target) == before == shown(place / "source")
            target.rename(place / str(workers))


def test_counts_add_up() -> None:
    assert Cloned(1, 2, 3) + Cloned(10, 20, 30) == Cloned(11, 22, 33)
