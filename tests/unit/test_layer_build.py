"""Inodes that what is built shares, and what becomes of it when one takes no more names."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import pytest

from ovl1.layer.build import Built, build
from ovl1.layer.delta import delta
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.tree.marks import is_whiteout
from ovl1.tree.view import StackView
from tests.support.manifest import Entry, manifest

pytestmark = pytest.mark.needs("root", "loop", "mkfs.ext4")

MOST_LINKS_OF_EXT4 = 65000
NAMES = ("a/b/second", "c/third", "first")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A layer whose one file has all the names that it can have, most of them elsewhere."""
    base = tmp_path_factory.mktemp("crowd")
    with loop_file_system("ext4", base, 64 << 20) as mounted:
        layer, elsewhere = mounted / "layer", mounted / "elsewhere"
        for name in ("layer/a/b", "layer/c", "elsewhere"):
            (mounted / name).mkdir(parents=True)
        file = layer / "first"
        file.write_bytes(b"content")
        file.chmod(0o4750)
        for name in NAMES[:2]:
            os.link(file, layer / name)
        (layer / "other").write_bytes(b"other")
        for number in range(MOST_LINKS_OF_EXT4 - len(NAMES)):
            os.link(file, elsewhere / str(number))
        for directory, _, _ in os.walk(layer):
            os.utime(directory, ns=(1, 2))
        yield mounted


@pytest.mark.parametrize("taken", range(4))
def test_the_group_stays_one(crowd: Path, taken: int) -> None:
    """`taken`: how many of three links are made before the inode takes no more."""
    layer, target = crowd / "layer", crowd / f"diff-{taken}"
    target.mkdir()
    for number in range(taken):
        (crowd / f"elsewhere/{number}").unlink()
    try:
        with StackView([Directory.open(layer)]) as view, Directory.open(target) as directory:
            built = build(delta(view, None, None), directory, own_copy=False)
        if taken < len(NAMES):
            size = (layer / "first").stat().st_blocks * 512
            assert built == Built(directories=3, linked=1, copied=1, copied_bytes=size, relinked=2)
            assert (target / "first").stat().st_nlink == len(NAMES)
        else:
            assert built == Built(directories=3, linked=4)
        assert shown(target) == shown(layer)
        assert all((target / "first").samefile(target / name) for name in NAMES)
    finally:
        for name in NAMES:
            (target / name).unlink()
        for number in range(taken):
            os.link(layer / "first", crowd / f"elsewhere/{number}")


def hidden(target: Path, old: Path, whiteout: Optional[Tuple[Path, bytes]]) -> Tuple[Built, int]:
    """A layer that hides all names of the layer `old`; what was made, and the whiteouts' inode."""
    new = target.with_name(f"{target.name}-shows")
    (new / "a").mkdir(parents=True)
    target.mkdir()
    with contextlib.ExitStack() as opened:
        after, before = (
            opened.enter_context(StackView([Directory.open(path)])) for path in (new, old)
        )
        shared = None
        if whiteout is not None:
            shared = opened.enter_context(Directory.open(whiteout[0])), whiteout[1]
        here = opened.enter_context(Directory.open(target))
        built = build(delta(after, before, None), here, own_copy=False, whiteout=shared)
    made = [target / name for name in ("a/b", "c", "first", "other")]
    assert all(is_whiteout(path.lstat()) for path in made)
    (inode,) = {path.lstat().st_ino for path in made}
    return built, inode


def test_whiteouts_share_an_inode(crowd: Path) -> None:
    target, layer = crowd / "shared", crowd / "layer"
    built, inode = hidden(target, layer, None)
    assert built == Built(directories=1, whiteouts=4)
    assert built.new_inodes == 2
    again, same = hidden(crowd / "shared-again", layer, (target, b"c"))
    assert (again, same) == (built, inode)
    assert (target / "c").lstat().st_nlink == 8


@pytest.mark.needs("overlay")
def test_the_kernel_changes_no_whiteout_that_others_have(crowd: Path) -> None:
    layer, one, other, at = (crowd / name for name in ("layer", "one", "other", "at"))
    hidden(one, layer, None)
    hidden(other, layer, (one, b"c"))
    (crowd / "work").mkdir()
    at.mkdir()
    with mounts.mounted(mounts.overlay([layer], one, crowd / "work"), at):
        (at / "c").write_bytes(b"new")
        (at / "c").chmod(0o600)
        (at / "first").mkdir()
        os.link(at / "c", at / "other")
        (at / "other").unlink()
        shutil.rmtree(at / "a")
    made = [path.lstat() for path in (other / name for name in ("a/b", "c", "first", "other"))]
    assert {(status.st_ino, status.st_mode, status.st_uid) for status in made} == {
        (made[0].st_ino, stat.S_IFCHR, 0)
    }
    assert (one / "c").read_bytes() == b"new"


@pytest.mark.parametrize("why", ["no more names", "another file system"])
def test_whiteouts_share_a_new_one(crowd: Path, tmp_path: Path, why: str) -> None:
    """What it is does not matter to link(2): the file with all the names it can have will do."""
    os.mknod(tmp_path / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    other = (crowd / "layer", b"first") if why == "no more names" else (tmp_path, b"whiteout")
    built, inode = hidden(crowd / why.replace(" ", "-"), crowd / "layer", other)
    assert built == Built(directories=1, whiteouts=4)
    assert inode != (other[0] / os.fsdecode(other[1])).lstat().st_ino


def shown(root: Path) -> Dict[bytes, Entry]:
    return {name: entry._replace(inode=0, nlink=0) for name, entry in manifest(root).items()}
