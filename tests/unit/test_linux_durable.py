"""Durable writes: the old content or the new, and never anything left beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ovl1.linux import durable
from ovl1.linux.loopback import loop_file_system
from tests.support.child import in_child
from tests.support.manifest import differences, manifest

_LIMIT = 1000


def write_fails(path: Path) -> int:
    """The error with which writing more than the limit fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, _LIMIT))
    try:
        durable.write_file(path, bytes(2 * _LIMIT))
    except OSError as err:
        return err.errno or 0
    return 0


def append_fails(path: Path) -> int:
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, _LIMIT))
    try:
        durable.append_line(path, b"x" * 2 * _LIMIT)
    except OSError as err:
        return err.errno or 0
    return 0


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o666])
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_write_file(tmp_path: Path, mode: int, there: bool) -> None:
    path = tmp_path / "file"
    if there:
        path.write_text("old and longer")
        path.chmod(0o640)
    times = (1_000_000_000_123_456_789, 999_999_999_987_654_321)
    durable.write_file(path, b"new", mode=mode, times_ns=times)
    status = path.stat()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(status.st_mode) == mode
    # The read above may have changed the access time.
    assert status.st_mtime_ns == times[1]
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.needs("root")
def test_write_file_sets_the_owner_before_the_mode(tmp_path: Path) -> None:
    durable.write_file(tmp_path / "file", b"", mode=0o4755, owner=(1000, 1001))
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1001, 0o4755)


def test_whoever_has_the_old_file_keeps_it(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_text("old")
    os.link(path, other)
    with path.open() as reader:
        durable.write_file(path, b"new")
        assert reader.read() == "old"
    assert other.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["file", "file" + durable.TEMPORARY_SUFFIX])
def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    canary.write_text("canary")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(canary)
    durable.write_file(folder / "file", b"new")
    assert canary.read_text() == "canary"
    assert (folder / "file").read_text() == "new"
    assert not (folder / "file").is_symlink()
    assert os.listdir(folder) == ["file"]


def test_a_temporary_file_of_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    stale = tmp_path / ("file" + durable.TEMPORARY_SUFFIX)
    stale.write_text("half of something, and longer")
    os.link(stale, tmp_path / "other")
    durable.write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "other").read_text() == "half of something, and longer"
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_a_failed_write_leaves_what_was(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "file"
    if there:
        path.write_text("old")
    before = {key: entry for key, entry in manifest(tmp_path).items() if key != b"."}
    assert in_child(lambda: write_fails(path)).code == errno.EFBIG
    after = {key: entry for key, entry in manifest(tmp_path).items() if key != b"."}
    assert differences(before, after) == []


def test_a_failed_rename_leaves_what_was(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        durable.write_file(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.needs("root", "loop", "mkfs.ext4")
@pytest.mark.parametrize(
    "write",
    [
        lambda path: durable.write_file(path, bytes(1 << 20)),
        lambda path: durable.append_line(path, bytes(1 << 20)),
    ],
    ids=["write_file", "append_line"],
)
def test_a_full_disk_leaves_what_was(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with loop_file_system("ext4", tmp_path, 4 << 20) as mounted:
        path = mounted / "file"
        path.write_text("old\n")
        with contextlib.suppress(OSError), open(mounted / "fill", "wb", 0) as fill:
            while True:
                fill.write(bytes(1 << 12))
        with pytest.raises(OSError, match="No space left"):
            write(path)
        assert path.read_text() == "old\n"
        assert sorted(os.listdir(mounted)) == ["file", "fill", "lost+found"]


def test_create_file(tmp_path: Path) -> None:
    durable.create_file(tmp_path / "file", b"new", mode=0o666)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_create_file_refuses_a_name_that_exists(tmp_path: Path, kind: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "file"
    canary.write_text("canary")
    if kind == "file":
        path.write_text("old")
    else:
        path.symlink_to(canary if kind == "link" else tmp_path / "nothing")
    before = manifest(tmp_path)
    with pytest.raises(FileExistsError):
        durable.create_file(path, b"new", mode=0o600)
    assert differences(before, manifest(tmp_path)) == []


def test_append_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for line in (b"one", b"", b"three" * 50_000):
        durable.append_line(log, line)
    assert log.read_bytes() == b"one\n\n" + b"three" * 50_000 + b"\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("torn", [b"two", b"x" * 200_000], ids=["short", "long"])
@pytest.mark.parametrize("whole", [b"", b"one\n"], ids=["first", "second"])
def test_a_torn_line_is_dropped(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(whole + torn)
    durable.append_line(log, b"next")
    assert log.read_bytes() == whole + b"next\n"


def test_a_failed_append_leaves_what_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    durable.append_line(log, b"one")
    assert in_child(lambda: append_fails(log)).code == errno.EFBIG
    assert log.read_bytes() == b"one\n"


def test_rename(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "from" / "file").write_text("x")
    durable.rename(tmp_path / "from" / "file", tmp_path / "to" / "other")
    assert (tmp_path / "to" / "other").read_text() == "x"
    assert os.listdir(tmp_path / "from") == []
    durable.sync_file_system(tmp_path)
