"""What file systems of different kinds can do, asked of real ones."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Callable, ContextManager, FrozenSet, Iterable, Iterator, NamedTuple, Tuple

import pytest

from ovl1.errors import NotPossibleHere
from ovl1.linux import mounts
from ovl1.linux.loopback import loop_file_system
from ovl1.linux.probe import probe
from ovl1.model import Mount
from tests.support.child import as_nobody, in_child
from tests.support.manifest import ROOT, differences, manifest

ALL = {
    "d_type",
    "hardlinks",
    "user_xattr",
    "trusted_xattr",
    "mknod",
    "reflink",
    "overlay",
    "overlay_multiple_lowers",
}
_MIB = 1 << 20


@contextlib.contextmanager
def tmpfs(base: Path) -> Iterator[Path]:
    target = base / "tmpfs"
    target.mkdir()
    with mounts.mounted(Mount("tmpfs", "tmpfs"), target):
        yield target


@contextlib.contextmanager
def on_overlay(base: Path) -> Iterator[Path]:
    with loop_file_system("ext4", base, 16 * _MIB) as mounted:
        lower, upper, work, merged = (mounted / name for name in "luwm")
        for path in (lower, upper, work, merged):
            path.mkdir()
        with mounts.mounted(mounts.overlay([lower], upper, work), merged):
            yield merged


@contextlib.contextmanager
def old_xfs(base: Path) -> Iterator[Path]:
    """Without file types, as CentOS 7 made it: only in the old format, which kernels drop."""
    options = ("-m", "crc=0", "-n", "ftype=0")
    with contextlib.ExitStack() as stack:
        try:
            mounted = stack.enter_context(
                loop_file_system("xfs", base, 320 * _MIB, mkfs_options=options)
            )
        except NotPossibleHere as err:
            pytest.skip(f"no xfs without file types here: {err.details}")
        yield mounted


class Kind(NamedTuple):
    name: str
    make: Callable[[Path], ContextManager[Path]]
    lacks: FrozenSet[str]
    may_lack: FrozenSet[str]


def kind(
    name: str,
    make: Callable[[Path], ContextManager[Path]],
    lacks: Iterable[str],
    may_lack: Iterable[str] = (),
    needs: Tuple[str, ...] = ("loop",),
) -> Any:
    """A kind of file system; what it may lack depends on the kernel and on how mkfs was built."""
    value = Kind(name, make, frozenset(lacks), frozenset(may_lack))
    return pytest.param(value, id=name, marks=pytest.mark.needs("root", "overlay", *needs))


KINDS = [
    kind(
        "ext4",
        lambda base: loop_file_system("ext4", base, 16 * _MIB),
        {"reflink"},
        needs=("loop", "mkfs.ext4"),
    ),
    kind(
        "ext4-without-types",
        lambda base: loop_file_system(
            "ext4", base, 16 * _MIB, mkfs_options=["-O", "^filetype,^orphan_file"]
        ),
        {"d_type", "reflink"},
        {"overlay", "overlay_multiple_lowers"},
        needs=("loop", "mkfs.ext4"),
    ),
    kind(
        "xfs",
        lambda base: loop_file_system("xfs", base, 320 * _MIB),
        (),
        {"reflink"},
        ("loop", "mkfs.xfs"),
    ),
    kind("xfs-ftype0", old_xfs, {"d_type", "reflink"}, {"overlay", "overlay_multiple_lowers"}),
    kind(
        "btrfs",
        lambda base: loop_file_system("btrfs", base, 128 * _MIB),
        (),
        needs=("loop", "mkfs.btrfs"),
    ),
    kind("tmpfs", tmpfs, {"reflink"}, {"user_xattr"}, ()),
    # What is on an overlay can be no upper and hold no whiteouts.
    kind(
        "overlay",
        on_overlay,
        {"reflink", "mknod", "overlay", "overlay_multiple_lowers"},
        needs=("loop", "mkfs.ext4"),
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(tmp_path: Path, kind: Kind) -> None:
    with kind.make(tmp_path) as directory:
        (directory / "canary").write_text("canary")
        before = manifest(directory)
        mounted = [point.path for point in mounts.mount_points()]
        found = probe(directory)
        after = manifest(directory)
        assert [point.path for point in mounts.mount_points()] == mounted
    lacking = {name for name, ability in found.items() if not ability.works}
    assert set(found) == ALL
    assert kind.lacks <= lacking <= kind.lacks | kind.may_lack, found
    for ability in found.values():
        assert ability.works == (ability.reason == "")
    # Its own time cannot but change.
    assert differences({**before, ROOT: after[ROOT]}, after) == []


def test_only_some(tmp_path: Path) -> None:
    assert set(probe(tmp_path, ["hardlinks", "reflink"])) == {"hardlinks", "reflink"}
    with pytest.raises(KeyError):
        probe(tmp_path, ["unheard-of"])
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("root", "overlay")
def test_without_privileges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from a directory that is open already: the way to it is closed to others."""
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)

    def unprivileged() -> int:
        found = probe(Path("."))
        able = {name for name, ability in found.items() if ability.works}
        # Whiteouts are everybody's since Linux 5.8.
        wanted = {"d_type", "hardlinks"} <= able
        return 0 if wanted and not able & {"trusted_xattr", "overlay"} else 1

    ended = in_child(as_nobody(unprivileged))
    assert ended.code == 0, ended
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["/proc", "/sys"])
def test_where_nothing_can_be_made(place: str) -> None:
    with pytest.raises(OSError, match=place):
        probe(Path(place))
