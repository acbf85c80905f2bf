"""What becomes of a group of hard links when its inode takes no more of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterator

import pytest

from ovl1.layer.build import Built, build
from ovl1.layer.delta import delta
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
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


def shown(root: Path) -> Dict[bytes, Entry]:
    return {name: entry._replace(inode=0, nlink=0) for name, entry in manifest(root).items()}
