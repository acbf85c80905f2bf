"""Every driver on every kind of file system, of which one serves all tests."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Iterator, List

import pytest

from ovl1.linux import libc, mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.linux.probe import probe
from ovl1.model import Mount
from tests.conformance.world import KINDS, MS_BIND, SOCKET, Kind, World
from tests.support.plugin_kind import NOT_HERE

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


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Leave out what makes no sense through the plugin's socket, or needs only the full form."""
    full = bool(config.getoption("--full"))
    dropped = [item for item in items if _is_needless(item, full=full)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


def _is_needless(item: pytest.Item, *, full: bool) -> bool:
    called = getattr(item, "callspec", None)
    if called is None or called.params.get("kind") is not SOCKET:
        return False
    if item.name.split("[")[0] in NOT_HERE:
        return True
    # Nothing depends on the file system there that does not without a socket.
    return not full and called.params.get("disk", "ext4") != "ext4"


@pytest.fixture(params=[*KINDS, SOCKET], ids=lambda kind: str(kind.name))
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
