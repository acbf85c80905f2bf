"""Every driver on every kind of file system, of which one serves all tests."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux import libc, mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.linux.probe import probe
from ovl1.model import Mount
from tests.conformance.world import KINDS, MS_BIND, Kind, World

_SIZE = 512 << 20

FILE_SYSTEMS = [
    *(
        pytest.param(kind, marks=pytest.mark.needs("root", "overlay", f"mkfs.{kind}"))
        for kind in ("ext4", "xfs", "btrfs")
    ),
    pytest.param("tmpfs", marks=pytest.mark.needs("root", "overlay")),
]


@contextlib.contextmanager
def bound_tmpfs(directory: Path) -> Iterator[Path]:
    """A directory of a tmpfs, seen through a bind mount."""
    base, bound = directory / "tmpfs", directory / "bound"
    base.mkdir()
    bound.mkdir()
    with mounts.mounted(Mount("tmpfs", "tmpfs", (f"size={_SIZE}",)), base):
        (base / "inside").mkdir()
        libc.mount(str(base / "inside"), str(bound), "none", MS_BIND, "")
        try:
            yield bound
        finally:
            mounts.umount(bound)


@pytest.fixture(scope="session", params=FILE_SYSTEMS)
def disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An empty file system, whose name is the parameter."""
    scratch = tmp_path_factory.mktemp(request.param)
    if request.param == "tmpfs":
        with bound_tmpfs(scratch) as place:
            for name, ability in probe(place, ["trusted_xattr", "overlay"]).items():
                if not ability.works:
                    pytest.skip(
                        f"this kernel's tmpfs cannot hold an upper: {name}: {ability.reason}"
                    )
            yield place
        return
    inodes = 200_000 if request.param == "ext4" else None
    with loop_file_system(request.param, scratch, _SIZE, inodes=inodes) as place:
        yield place


@pytest.fixture(params=KINDS, ids=lambda kind: str(kind.name))
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def world(disk: Path, kind: Kind, tmp_path: Path) -> Iterator[World]:
    made = World(kind, Path(tempfile.mkdtemp(dir=disk)), tmp_path / "run")
    try:
        yield made
        made.driver.cleanup()
        assert made.mounted() == []
        assert made.locks() == []
    finally:
        made.remove()
