"""Applying random layers for real, and looking at what came of it."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Sequence, Set

from ovl1.layer.apply import apply_to_diff, apply_to_root
from ovl1.linux import libc
from ovl1.linux.beneath import Directory
from ovl1.tree.view import StackView
from tests.property import apply_model
from tests.property.apply_model import Item, as_bytes
from tests.support.layers import make_tar
from tests.support.trees import Seen, shown

_FORMAT, _DIR = 0o170000, 0o40000


def scratch() -> Any:
    """A temporary directory; a context manager that gives its name."""
    return tempfile.TemporaryDirectory(prefix="apply-")


@contextlib.contextmanager
def directories(*paths: Path) -> Iterator[List[Directory]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Directory.open(path)) for path in paths]


@contextlib.contextmanager
def views(*stacks: Sequence[Path]) -> Iterator[List[StackView]]:
    """A view of each stack of layers, topmost first."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(StackView([Directory.open(path) for path in paths]))
            for paths in stacks
        ]


def tar_of(items: Sequence[Item]) -> BinaryIO:
    return make_tar([item.made() for item in items])


def to_root(tar: BinaryIO, parent: Optional[Path], target: Path) -> None:
    """Make a complete tree in `target`, which is not there yet."""
    target.mkdir()
    with directories(target, *([parent] if parent else [])) as (opened, *below):
        apply_to_root(tar, below[0] if below else None, opened)


def to_diff(tar: BinaryIO, below: Sequence[Path], target: Path, *, mounted: bool = False) -> None:
    """Make an overlay directory in `target`, which is there only if `mounted`."""
    target.mkdir(exist_ok=mounted)
    with directories(target) as (opened,), views(*([below] if below else [])) as found:
        apply_to_diff(tar, found[0] if found else None, opened, mounted=mounted)


def mounted_view(layers: Sequence[Path], at: Path) -> Dict[bytes, Seen]:
    """What the kernel shows of `layers`, topmost first; `at` is a directory for the mount."""
    for name in ("empty", "mnt"):
        (at / name).mkdir(exist_ok=True)
    lowers = ":".join(str(layer) for layer in (*layers, at / "empty"))
    libc.mount("overlay", str(at / "mnt"), "overlay", 0, f"lowerdir={lowers}")
    try:
        return shown(at / "mnt")
    finally:
        libc.umount(str(at / "mnt"))


def comparable(tree: Dict[bytes, Seen], listed: Set[apply_model.Path]) -> Dict[bytes, Seen]:
    """Without what is left to chance: times of directories that no entry lists; and one of the
    names of each inode stands for all."""
    names = {as_bytes(path) for path in listed}
    first: Dict[bytes, bytes] = {}
    for path in sorted(tree):
        first.setdefault(tree[path].same_as, path)
    return {
        path: seen._replace(
            same_as=path if is_directory(seen) else first[seen.same_as],
            mtime_ns=0 if is_directory(seen) and path not in names else seen.mtime_ns,
        )
        for path, seen in tree.items()
    }


def is_directory(seen: Seen) -> bool:
    return seen.mode & _FORMAT == _DIR


def same_but_for_links(
    view: Dict[bytes, Seen], whole: Dict[bytes, Seen], listed: Set[apply_model.Path]
) -> None:
    """Equal, but that names which the tar did not mention may have lost a hard link."""
    mine, theirs = comparable(view, listed), comparable(whole, listed)
    assert ungrouped(mine) == ungrouped(theirs)
    for path, seen in mine.items():
        assert theirs[seen.same_as].same_as == theirs[path].same_as


def ungrouped(tree: Dict[bytes, Seen]) -> Dict[bytes, Seen]:
    """Without what is a hard link of what."""
    return {path: seen._replace(same_as=b"") for path, seen in tree.items()}
