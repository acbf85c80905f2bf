"""Names and numbers at which other drivers break: special characters, long paths, many layers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ovl1.driver import overlay1
from ovl1.errors import Refused
from ovl1.linux import libc, mounts
from tests.conformance.world import KINDS, MS_BIND, Kind, World
from tests.support.layers import entry

MOST = 128


@pytest.mark.parametrize(
    "name",
    ["a,b", "a:b", "a\\b", "a b", "a\\,b:c d", 'q"uote', "new\nline", "caf\u00e9", "a=b,c=d"],
)
def test_names_that_mean_something_to_mount(
    disk: Path, kind: Kind, tmp_path: Path, name: str
) -> None:
    made = World(kind, Path(tempfile.mkdtemp(dir=disk)) / name, tmp_path / "run")
    try:
        one = made.image(None, entry("one", data=b"1"))
        two = made.image(one, entry("two", data=b"2"))
        container = made.container(two)
        with made.at(container) as root:
            assert (root / "one").read_bytes() + (root / "two").read_bytes() == b"12"
            (root / "three").write_text("3")
            made.driver.get(container)
            made.driver.put(container)
        assert sorted(path.decode() for path in made.shown(container)) == [
            *(".", "one", "three", "two")
        ]
        made.driver.get(container)
        made.driver.remove(container)
        assert made.mounted() == []
        made.driver.cleanup()
    finally:
        made.remove()


def test_more_layers_than_a_page_has_room_for(disk: Path, kind: Kind, tmp_path: Path) -> None:
    """From the driver's home, the short names of all of them do fit."""
    long = Path(*("d" * 200 for _ in range(4)))
    made = World(kind, Path(tempfile.mkdtemp(dir=disk)) / long, tmp_path / "run")
    here = os.getcwd()
    try:
        parent = made.image(None, entry("0"))
        for number in range(1, MOST):
            parent = made.image(parent, entry(f"{number}"))
        container = made.container(parent)
        with made.at(container) as root:
            assert len(list(root.iterdir())) == MOST
            (root / "new").touch()
        assert made.changes(container, parent) == {"/new": 1}
        if not made.is_v1:
            with pytest.raises(Refused, match="max depth"):
                made.empty(container)
            # Read-only, of as many.
            assert made.layout.committed(parent).exists()
            with made.at(parent) as root:
                assert len(list(root.iterdir())) == MOST
        assert os.getcwd() == here
        assert len(list(made.layout.home.iterdir())) == MOST + (1 if made.is_v1 else 2)
    finally:
        made.remove()


def test_a_path_that_even_one_layer_is_too_long_for(disk: Path, tmp_path: Path) -> None:
    """Three times the path of the data-root do not fit into a page; the driver tries hard."""
    base = Path(tempfile.mkdtemp(dir=disk))
    long = base.joinpath(*("d" * 200 for _ in range(5)))
    made = World(KINDS[0], long / ("d" * (1290 - len(os.fspath(long)))), tmp_path / "run")
    try:
        container = made.container(made.image(None, entry("file")))
        assert not mounts.fits(overlay1.mount_of(made.layout, container))
        with made.at(container) as root:
            assert (root / "file").exists()
            (root / "new").touch()
        assert (made.layout.upper(container) / "new").exists()
        assert made.mounted() == []
    finally:
        made.remove()


def test_a_home_that_is_a_mount_itself(disk: Path, kind: Kind, tmp_path: Path) -> None:
    """As Docker 1.12 to 17.12 left it; cleaning up must not take it away."""
    made = World(kind, Path(tempfile.mkdtemp(dir=disk)), tmp_path / "run")
    home = made.layout.home
    try:
        libc.mount(str(home), str(home), "none", MS_BIND, "")
        container = made.container(made.image(None, entry("file")))
        made.driver.get(container)
        made.driver.cleanup()
        assert made.mounted() == [home]
        made.driver.remove(container)
        mounts.umount(home)
    finally:
        made.remove()
