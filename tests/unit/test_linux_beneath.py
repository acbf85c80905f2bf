"""Directories by descriptor: nothing outside is read or changed, whatever lies below the root."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import pytest

from ovl1.linux.beneath import DIR, FILE, LINK, SPECIAL, Directory, split
from ovl1.linux.loopback import loop_file_system
from tests.support.inode_flags import immutable
from tests.support.manifest import differences, manifest

Operation = Callable[[Directory, bytes], object]

# Each takes one name. What it makes, it makes of that name.
OPERATIONS: List[Operation] = [
    lambda here, name: here.child(name),
    lambda here, name: here.descend([name]),
    lambda here, name: here.lstat(name),
    lambda here, name: here.exists(name),
    lambda here, name: here.readlink(name),
    lambda here, name: here.open_file(name),
    lambda here, name: here.open_file(name, os.O_WRONLY | os.O_CREAT),
    lambda here, name: here.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    lambda here, name: here.reading(name).__enter__(),
    lambda here, name: here.mkdir(name),
    lambda here, name: here.symlink(b"target", name),
    lambda here, name: here.mknod(name, stat.S_IFREG | 0o600),
    lambda here, name: here.link_from(here, b"file", name),
    lambda here, name: here.link_from(here, name, b"new"),
    lambda here, name: here.chown(name, os.getuid(), os.getgid()),
    lambda here, name: here.set_times(name, 1, 2),
    lambda here, name: here.unlink(name),
    lambda here, name: here.rmdir(name),
]
BY_INDEX = pytest.mark.parametrize("operation", OPERATIONS, ids=range(len(OPERATIONS)))

BAD_NAMES = [b"", b".", b"..", b"a/b", b"/etc", b"../outside", b"dir/..", b"a\0b", b"/", b"dir/"]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must stay as it is: a directory beside the root."""
    outside = tmp_path / "outside"
    (outside / "dir").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    (outside / "dir" / "inner").write_text("inner")
    return outside


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Iterator[Directory]:
    path = tmp_path / "root"
    (path / "dir").mkdir(parents=True)
    (path / "file").write_text("file")
    (path / "dir" / "below").write_text("below")
    for name, target in (
        ("to-dir", "../outside"),
        ("to-file", "../outside/secret"),
        ("absolute", str(outside)),
        ("dangling", "../outside/new"),
    ):
        (path / name).symlink_to(target)
    (path / "dir" / "up").symlink_to("../../outside")
    with Directory.open(path) as directory:
        yield directory


def tried(operation: Operation, here: Directory, name: bytes) -> Tuple[int, object]:
    """The error number, 0 for none, and the result."""
    try:
        return 0, operation(here, name)
    except OSError as err:
        return err.errno or -1, None


@BY_INDEX
@pytest.mark.parametrize("name", [b"to-dir", b"to-file", b"absolute", b"dangling"])
def test_no_link_is_followed(
    root: Directory, outside: Path, operation: Operation, name: bytes
) -> None:
    before = manifest(outside)
    error, result = tried(operation, root, name)
    assert error in (0, errno.ELOOP, errno.ENOTDIR, errno.EEXIST)
    # What worked, worked on the link itself: it gave a status, a name or a further link.
    assert not isinstance(result, (Directory, int)) or isinstance(result, bool)
    assert differences(before, manifest(outside)) == []


@pytest.mark.parametrize(
    "parts",
    [
        [b"to-dir", b"dir"],
        [b"absolute", b"dir"],
        [b"dir", b"up"],
        [b"dir", b"up", b"dir"],
        [b"to-file"],
        [b"file"],
        [b"dangling"],
    ],
    ids=repr,
)
def test_no_way_over_a_link(root: Directory, parts: List[bytes]) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    assert tried(lambda here, _: here.descend(parts), root, b"")[0] in (errno.ELOOP, errno.ENOTDIR)
    assert len(os.listdir("/proc/self/fd")) == open_files


@BY_INDEX
@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_bad_names(root: Directory, outside: Path, operation: Operation, name: bytes) -> None:
    before = manifest(outside.parent)
    with pytest.raises(ValueError, match="is not a file name"):
        operation(root, name)
    assert differences(before, manifest(outside.parent)) == []


def test_a_chmod_takes_a_name_only(root: Directory) -> None:
    for name in BAD_NAMES:
        with pytest.raises(ValueError, match="is not a file name"):
            root.chmod(name, 0o777)
    root.chmod(b"file", 0o640)
    assert stat.S_IMODE(root.lstat(b"file").st_mode) == 0o640


def test_what_acts_on_a_link_acts_on_the_link(root: Directory, outside: Path) -> None:
    root.set_times(b"to-file", 1, 2)
    assert root.lstat(b"to-file").st_mtime_ns == 2
    root.link_from(root, b"to-file", b"again")
    assert root.readlink(b"again") == b"../outside/secret"
    assert root.lstat(b"again").st_ino == root.lstat(b"to-file").st_ino
    root.unlink(b"to-file")
    assert not root.exists(b"to-file")
    assert root.exists(b"dangling")
    assert (outside / "secret").exists()


def test_the_last_part_of_a_root_is_no_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        Directory.open(tmp_path / "link")


def test_a_directory_stays_the_same_when_it_is_exchanged(
    root: Directory, outside: Path, tmp_path: Path
) -> None:
    with root.child(b"dir") as here:
        (tmp_path / "root" / "dir").rename(tmp_path / "moved")
        (tmp_path / "root" / "dir").symlink_to(outside)
        here.mkdir(b"made")
        with pytest.raises(FileNotFoundError):
            here.lstat(b"secret")
    assert (tmp_path / "moved" / "made").is_dir()
    assert not (outside / "made").exists()


def test_only_regular_files_are_opened(root: Directory, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "root" / "socket"))
    for name in (b"pipe", b"socket", b"dir"):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            open_files = len(os.listdir("/proc/self/fd"))
            with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kind
                root.open_file(name, flags)
            assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.needs("root")
def test_a_device_is_not_opened(root: Directory) -> None:
    root.mknod(b"null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(OSError, match="not a regular file"):
        root.open_file(b"null")


def test_names_have_their_kinds(root: Directory, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root" / "pipe")
    os.mkdir(os.fsencode(tmp_path) + b"/root/\xff\n")
    names = {name.name: name for name in root.names()}
    kinds = {name: entry.kind for name, entry in names.items()}
    assert kinds == {
        b"dir": DIR,
        b"file": FILE,
        b"to-dir": LINK,
        b"to-file": LINK,
        b"absolute": LINK,
        b"dangling": LINK,
        b"pipe": SPECIAL,
        b"\xff\n": DIR,
    }
    assert all(entry.inode == root.lstat(name).st_ino for name, entry in names.items())


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", pytest.param("btrfs", marks=pytest.mark.needs("mkfs.btrfs"))]
)
def test_a_listing_has_what_was_made_since_it_was_opened(kind: str, tmp_path: Path) -> None:
    with loop_file_system(kind, tmp_path, 300 << 20) as disk:
        for name in ("first", "target"):
            (disk / name).mkdir()
        with Directory.open(disk / "first") as here, Directory.open(disk / "target") as target:
            for name in ("a", "b", "c"):
                (disk / "first" / name).touch()
                listed = [entry.name for entry in here.names()]
                assert sorted(listed) == sorted(map(os.fsencode, os.listdir(disk / "first")))
            (disk / "first" / "d").touch()
            assert target.link_all_from(here).linked == 4
            assert here.unlink_all() == (4, [])


def test_descending_gives_a_directory_of_its_own(root: Directory) -> None:
    with root.descend([]) as same, root.descend([b"dir"]) as below:
        assert same.fd != root.fd
        assert os.path.samestat(same.stat(), root.stat())
        with below.reading(b"below") as fd:
            assert os.read(fd, 10) == b"below"
    assert root.exists(b"file")
    same.close()  # Once more, after the block, does no harm.


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"", []),
        (b".", []),
        (b"./a//b/", [b"a", b"b"]),
        (b"/a", [b"a"]),
        (b"a/./b", [b"a", b"b"]),
        (b"..a/b..", [b"..a", b"b.."]),
    ],
)
def test_split(path: bytes, parts: List[bytes]) -> None:
    assert split(path) == parts


@pytest.mark.parametrize("path", [b"..", b"a/../b", b"a/..", b"../a", b"a\0b"])
def test_split_refuses(path: bytes) -> None:
    with pytest.raises(ValueError, match="is not a file name"):
        split(path)


def test_all_names_but_directories_are_linked(root: Directory, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root" / "pipe")
    os.mkdir(os.fsencode(tmp_path) + b"/root/\xff\n")
    before = {entry.name: entry for entry in root.names()}
    (tmp_path / "target").mkdir()
    with Directory.open(tmp_path / "target") as target:
        done = target.link_all_from(root)
        assert sorted(done.subdirectories) == [b"dir", b"\xff\n"]
        assert (done.linked, done.refused) == (len(before) - 2, {})
        found = {entry.name: entry for entry in target.names()}
        assert found == {name: entry for name, entry in before.items() if entry.kind != DIR}
        with pytest.raises(FileExistsError):
            target.link_all_from(root)


@pytest.mark.needs("root", "loop", "mkfs.ext4")
def test_what_refuses_to_be_linked_is_told(root: Directory, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with immutable(tmp_path / "root/file"), Directory.open(tmp_path / "target") as target:
        done = target.link_all_from(root)
        assert done.refused == {b"file": errno.EPERM}
        assert done.linked == len(target.names()) == len(root.names()) - 2


def test_all_names_but_directories_are_removed(
    root: Directory, tmp_path: Path, outside: Path
) -> None:
    before = manifest(outside)
    (tmp_path / "root/dir/\udcff").mkdir()
    removed, subdirectories = root.unlink_all()
    assert (removed, subdirectories) == (5, [b"dir"])
    assert [entry.name for entry in root.names()] == [b"dir"]
    with root.child(b"dir") as below:
        assert below.unlink_all() == (2, [b"\xff"])
    assert differences(before, manifest(outside)) == []
