"""Real mounts in awkward places, and what the kernel then says is mounted."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Iterator, List

import pytest

from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.linux import mounts
from ovl1.model import Mount
from tests.support.child import in_child

pytestmark = pytest.mark.needs("root", "overlay")

AWKWARD = [
    b"plain",
    b"a,b",
    b"a:b",
    b"a\\b",
    b"a\\,b",
    b"a\\:b",
    b"a b",
    b" ",
    b"tab\there",
    b"line\nbreak",
    b'"quoted"',
    b"a=b",
    b"#hash",
    b"\\040",
    b"caf\xc3\xa9",
    b"no\xffutf8",
    b"ends in backslash\\",
    b",",
    b":",
]


def directories(base: Path, *names: str) -> List[Path]:
    made = [base / name for name in names]
    for path in made:
        path.mkdir(parents=True)
    return made


def mounted_paths() -> List[bytes]:
    return [point.path for point in mounts.mount_points()]


@pytest.mark.parametrize("name", AWKWARD, ids=repr)
def test_overlay_with_awkward_names(tmp_path: Path, name: bytes) -> None:
    base = tmp_path / os.fsdecode(name)
    one, two, upper, work, merged = directories(base, "one", "two", "upper", "work", "merged")
    (one / "file").write_text("one")
    (two / "file").write_text("two")
    (two / "below").write_text("below")
    with mounts.mounted(mounts.overlay([one, two], upper, work), merged):
        assert (merged / "file").read_text() == "one"
        assert (merged / "below").read_text() == "below"
        (merged / "new").write_text("new")
        assert os.fsencode(merged) in mounted_paths()
    assert (upper / "new").read_text() == "new"
    assert os.fsencode(merged) not in mounted_paths()
    assert list(merged.iterdir()) == []


def test_overlay_without_upper_is_read_only(tmp_path: Path) -> None:
    one, two, merged = directories(tmp_path, "one", "two", "merged")
    with mounts.mounted(mounts.overlay([one, two]), merged), pytest.raises(
        OSError, match=os.strerror(errno.EROFS)
    ):
        (merged / "new").touch()


def test_a_file_with_many_names_below_stays_usable(tmp_path: Path) -> None:
    """With the index on, the kernel answers ESTALE: v1's images are made of such files."""
    lower, upper, work, merged = directories(tmp_path, "lower", "upper", "work", "merged")
    (lower / "one").write_text("old")
    os.link(lower / "one", lower / "two")
    for text in ("new", "newer"):
        with mounts.mounted(mounts.overlay([lower], upper, work), merged):
            (merged / "one").write_text(text)
            assert (merged / "two").read_text() == "old"
    assert (lower / "one").read_text() == "old"


def longest(base: Path) -> List[Path]:
    """Lower directories whose option is exactly as long as a page can be."""
    lowers = [base / f"{number:03}" for number in range(200)]
    option = mounts.overlay(lowers).options[0]
    while len(option) >= mmap.PAGESIZE:
        lowers.pop()
        option = mounts.overlay(lowers).options[0]
    last = lowers.pop()
    return [*lowers, last.with_name(last.name + "x" * (mmap.PAGESIZE - 1 - len(option)))]


def test_a_page_full_of_options(tmp_path: Path) -> None:
    (merged,) = directories(tmp_path, "merged")
    lowers = longest(tmp_path)
    for lower in lowers:
        lower.mkdir()
    (lowers[-1] / "lowest").touch()
    with mounts.mounted(mounts.overlay(lowers), merged):
        assert (merged / "lowest").exists()


def test_more_than_a_page_of_options(tmp_path: Path) -> None:
    (merged,) = directories(tmp_path, "merged")
    *lowers, last = longest(tmp_path)
    longer = [*lowers, last.with_name(last.name + "x")]
    for lower in longer:
        lower.mkdir()
    with pytest.raises(NotPossibleHere) as caught:
        mounts.mount(mounts.overlay(longer), merged)
    assert str(merged) in caught.value.brief
    assert str(mmap.PAGESIZE) in caught.value.brief
    assert caught.value.resolution
    assert os.fsencode(merged) not in mounted_paths()


def test_names_from_a_directory_take_less_room(tmp_path: Path) -> None:
    """No other thread, nor this one, sees a change of the working directory."""
    merged, upper, work = directories(tmp_path, "merged", "upper", "work")
    lowers = [tmp_path / f"{number:02}" for number in range(100)]
    for lower in lowers:
        lower.mkdir()
    (lowers[-1] / "lowest").touch()
    assert not mounts.fits(mounts.overlay(lowers, upper, work))
    relative = [Path(lower.name) for lower in lowers]
    what = mounts.overlay(relative, Path("upper"), Path("work"))
    assert mounts.fits(what)
    here = os.getcwd()
    mounts.mount(what, Path("merged"), within=tmp_path)
    try:
        assert (merged / "lowest").exists()
        (merged / "new").touch()
        assert (upper / "new").exists()
        assert os.getcwd() == here
    finally:
        mounts.umount(merged)
    with pytest.raises(FileNotFoundError, match="merged"):
        mounts.mount(mounts.overlay([Path("no"), Path("such")]), Path("merged"), within=tmp_path)


def test_a_label_must_be_one() -> None:
    what = mounts.overlay([Path("a")], label="system_u:object_r:container_file_t:s0:c1,c2")
    assert what.options[-1] == 'context="system_u:object_r:container_file_t:s0:c1,c2"'
    for bad in ('a",upperdir="b', "a b", "a\n", "a\0"):
        with pytest.raises(WrongUsage):
            mounts.overlay([Path("a")], label=bad)


def test_mounts_below_a_directory(tmp_path: Path) -> None:
    outer, inner = tmp_path / "a b" / "outer", tmp_path / "a b" / "outer" / "inner"
    outer.mkdir(parents=True)
    (tmp_path / "a b-beside").mkdir()
    with contextlib.ExitStack() as stack:
        for target in (outer, inner, inner, tmp_path / "a b-beside"):
            target.mkdir(exist_ok=True)
            stack.enter_context(mounts.mounted(Mount("tmpfs", "tmpfs"), target))
        assert mounts.mounted_below(tmp_path / "a b") == [inner, inner, outer]
        assert mounts.mounted_below(outer) == [inner, inner]
    assert mounts.mounted_below(tmp_path) == []


def test_a_refused_mount_names_the_target(tmp_path: Path) -> None:
    (merged,) = directories(tmp_path, "merged")
    with pytest.raises(FileNotFoundError, match="merged"):
        mounts.mount(mounts.overlay([tmp_path / "no", tmp_path / "such"]), merged)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / os.fsdecode(b"a b\\c\nd\te#\xff")
    target.mkdir()
    with mounts.mounted(Mount("tmpfs", "a source\\with, oddities", ("size=1m",)), target):
        yield target


def test_mount_points_are_parsed(tmpfs: Path) -> None:
    (point,) = [point for point in mounts.mount_points() if point.path == os.fsencode(tmpfs)]
    device = tmpfs.stat().st_dev
    assert point.device == f"{os.major(device)}:{os.minor(device)}"
    assert (point.fstype, point.root) == ("tmpfs", b"/")
    assert point.source == b"a source\\with, oddities"
    assert b"size=1024k" in point.options


def test_mount_points_of_another_process(tmpfs: Path) -> None:
    assert os.fsencode(tmpfs) in [point.path for point in mounts.mount_points(str(os.getpid()))]
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    assert mounts.mount_points(str(gone)) == []


def test_a_busy_mount_is_not_hidden(tmpfs: Path) -> None:
    busy = os.strerror(errno.EBUSY)
    with (tmpfs / "file").open("w"), pytest.raises(OSError, match=busy):
        mounts.umount(tmpfs)
    assert os.fsencode(tmpfs) in mounted_paths()


def test_a_busy_mount_can_be_detached(tmpfs: Path) -> None:
    (tmpfs / "file").write_text("text")
    with (tmpfs / "file").open() as file:
        mounts.detach(tmpfs)
        assert os.fsencode(tmpfs) not in mounted_paths()
        assert file.read() == "text"
    mounts.mount(Mount("tmpfs", "tmpfs"), tmpfs)


def test_an_error_in_the_block_unmounts(tmp_path: Path) -> None:
    (target,) = directories(tmp_path, "target")
    with pytest.raises(KeyError), mounts.mounted(Mount("tmpfs", "tmpfs"), target):
        raise KeyError
    assert os.fsencode(target) not in mounted_paths()


def test_not_for_everybody(tmp_path: Path) -> None:
    def mount_as_nobody() -> int:
        os.setuid(65534)
        try:
            mounts.mount(Mount("tmpfs", "tmpfs"), Path("/mnt"))
        except PermissionError:
            return 0
        return 1

    assert in_child(mount_as_nobody).code == 0
