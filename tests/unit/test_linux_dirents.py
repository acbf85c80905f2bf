"""What a directory lists: the same by all ways to ask, and told apart where it differs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.linux import dirents

KINDS = "file", "dir", "symlink", "fifo", "link"


def make(directory: Path, content: Dict[str, str], common: Path) -> None:
    """Fill a directory; a link is to the file of that name in `common`."""
    directory.mkdir()
    for name, kind in content.items():
        path = directory / name
        if kind == "file":
            path.touch()
        elif kind == "dir":
            path.mkdir()
        elif kind == "symlink":
            path.symlink_to("target")
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            (common / name).touch()
            os.link(common / name, path)


def listing(directory: Path, *, lister: bool = True) -> bytes:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return dirents.Lister().read(fd) if lister else dirents.listed(fd)
    finally:
        os.close(fd)


def parsed(content: bytes) -> dirents.Listing:
    found = dirents.parse(content)
    assert found is not None
    return found


def told(content: bytes) -> Tuple[List[Tuple[int, bytes]], List[int], List[int], List[int]]:
    found = parsed(content)
    others = found.files, found.symlinks, found.specials
    files, symlinks, specials = map(sorted, others)
    return sorted(found.directories), files, symlinks, specials


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    common = tmp_path / "common"
    common.mkdir()
    names = {f"{kind}-{n}{'x' * n * 20}": kind for n in range(12) for kind in KINDS}
    make(tmp_path / "mixed", names, common)
    return tmp_path / "mixed"


def test_what_is_listed_is_what_there_is(mixed: Path) -> None:
    kinds: Dict[str, List[int]] = {kind: [] for kind in KINDS}
    for path in mixed.iterdir():
        kinds[path.name.split("-")[0]].append(path.lstat().st_ino)
    directories, files, symlinks, specials = told(listing(mixed))
    assert directories == sorted(
        (path.stat().st_ino, os.fsencode(path.name)) for path in mixed.glob("dir-*")
    )
    assert files == sorted(kinds["file"] + kinds["link"])
    assert symlinks == sorted(kinds["symlink"])
    assert specials == sorted(kinds["fifo"])


def test_readdir_says_the_same(mixed: Path) -> None:
    assert told(listing(mixed)) == told(listing(mixed, lister=False))
    assert sorted(dirents.names(listing(mixed))) == sorted(
        dirents.names(listing(mixed, lister=False))
    )


def test_a_directory_longer_than_the_buffer(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:0100}").touch()
    assert len(parsed(listing(tmp_path)).files) == 2000


def test_one_lister_for_many(tmp_path: Path, mixed: Path) -> None:
    """What an earlier directory left in the buffer is not part of a later one's listing."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a").touch()
    lister = dirents.Lister()
    found = []
    for path in (tmp_path / "small", mixed, tmp_path / "small"):
        fd = os.open(path, os.O_RDONLY)
        found.append(lister.read(fd))
        os.close(fd)
    assert found[0] == found[2] == listing(tmp_path / "small")


def test_a_file_system_that_tells_no_kinds(mixed: Path) -> None:
    content = bytearray(listing(mixed))
    content[18] = 0  # d_type of the first entry
    assert dirents.parse(bytes(content)) is None


def test_a_removed_directory(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    fd = os.open(tmp_path / "gone", os.O_RDONLY)
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        dirents.Lister().read(fd)
    os.close(fd)


CONTENTS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(KINDS), max_size=6)


@given(first=CONTENTS, second=CONTENTS, same=st.booleans())
def test_alike_is_what_differs_in_inodes_of_its_own_only(
    first: Dict[str, str], second: Dict[str, str], same: bool
) -> None:
    """Whatever is called alike has the same files, and gives what parsing would have given."""
    second = first if same else second
    with tempfile.TemporaryDirectory() as name:
        common = Path(name, "common")
        common.mkdir()
        for number, content in enumerate((first, second)):
            make(Path(name, str(number)), content, common)
        old, new = listing(Path(name, "0")), listing(Path(name, "1"))
    known = dirents.Known(old, parsed(old))
    if known.is_like(new):
        assert first.keys() == second.keys()
        assert parsed(new).files == parsed(old).files
        own = known.own(new)
        assert own[:1] + own[2:4] == (parsed(new).directories, *parsed(new)[2:4])
        assert known.is_plain == (not any(own[:4]))
        assert known.has_symlinks_only == (not (own.directories or own.specials))
        assert known.symlinks(new) == own.symlinks
    assert known.is_like(old)
    if "file" in second.values() and second != first:
        assert not known.is_like(new)
