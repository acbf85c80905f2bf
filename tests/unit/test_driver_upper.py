"""A copy of what a container changed shows the same, and shares nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import List

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from ovl1.driver.upper import copy_upper
from ovl1.errors import LayerError
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from tests.support.trees import Change, change, changes, furnish, shown

pytestmark = pytest.mark.needs("root", "overlay")


def copied(source: Path, target: Path) -> None:
    target.mkdir()
    with Directory.open(source) as one, Directory.open(target) as other:
        copy_upper(one, other)


@given(changes)
@hypothesis_settings(max_examples=40)
def test_it_shows_the_same(todo: List[Change]) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        lower, upper, work, merged = (base / each for each in "luwm")
        for path in (lower, upper, work, merged):
            path.mkdir()
        furnish(lower)
        with mounts.mounted(mounts.overlay([lower], upper, work), merged):
            change(merged, todo)
            expected = shown(merged)
        copied(upper, base / "copy")
        (base / "work of it").mkdir()
        with mounts.mounted(mounts.overlay([lower], base / "copy", base / "work of it"), merged):
            assert shown(merged) == expected
            # What is written to one is not seen in the other.
            for path in merged.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.write_bytes(b"other")
        with mounts.mounted(mounts.overlay([lower], upper, work), merged):
            assert shown(merged) == expected


def test_what_belongs_to_the_layer_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "opaque").mkdir(parents=True)
    (source / "opaque").chmod(0o2750)
    os.setxattr(source / "opaque", "trusted.overlay.opaque", b"y")
    os.setxattr(source / "opaque", "trusted.overlay.origin", b"there")
    os.setxattr(source / "opaque", "user.mine", b"kept")
    os.mknod(source / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    (source / "file").write_text("text")
    os.link(source / "file", source / "opaque" / "name")
    os.setxattr(source / "file", "trusted.overlay.origin", b"there")
    os.utime(source / "opaque", ns=(1, 2))
    target = tmp_path / "target"
    copied(source, target)
    opaque = target / "opaque"
    assert stat.S_IMODE(opaque.stat().st_mode) == 0o2750
    assert opaque.stat().st_mtime_ns == 2
    assert set(os.listxattr(opaque)) == {"trusted.overlay.opaque", "user.mine"}
    assert (target / "file").samefile(opaque / "name")
    assert (target / "file").stat().st_nlink == 2
    assert os.listxattr(target / "file") == []
    whiteout = (target / "whiteout").stat()
    assert stat.S_ISCHR(whiteout.st_mode)
    assert whiteout.st_rdev == 0


@pytest.mark.parametrize("attribute", ["redirect", "metacopy"])
def test_what_only_another_kernel_shows(tmp_path: Path, attribute: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    place = source / "dir" if attribute == "redirect" else source / "file"
    if attribute == "redirect":
        place.mkdir()
    else:
        place.touch()
    os.setxattr(place, f"trusted.overlay.{attribute}", b"there")
    with pytest.raises(LayerError, match=attribute):
        copied(source, tmp_path / "target")
