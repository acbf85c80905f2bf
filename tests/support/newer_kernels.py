"""Uppers as newer kernels leave them, with ``redirect_dir`` and ``metacopy``: made by this one."""

from __future__ import annotations

import contextlib
import os
import random
import stat
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

from ovl1.linux import mounts
from ovl1.model import Mount

ON = ("redirect_dir=on", "metacopy=on", "index=off")
"""What containers were mounted with."""
_OFF = ("redirect_dir=nofollow", "metacopy=off", "index=off")
"""As on a kernel that knows none of it."""

Shown = Dict[str, Tuple[object, ...]]


@contextlib.contextmanager
def mounted(
    lowers: Sequence[Path], upper: Path, work: Path, at: Path, options: Sequence[str] = ON
) -> Iterator[Path]:
    """An overlay with these options; `lowers` topmost first."""
    said = [
        f"lowerdir={':'.join(map(os.fspath, lowers))}",
        f"upperdir={upper}",
        f"workdir={work}",
        *options,
    ]
    at.mkdir(exist_ok=True)
    with mounts.mounted(Mount("overlay", "overlay", tuple(said)), at):
        yield at


def shown_without(layers: Sequence[Path], at: Path) -> Shown:
    """What a kernel shows that follows no marks; `layers` topmost first."""
    at.mkdir(exist_ok=True)
    lowers = f"lowerdir={':'.join(map(os.fspath, layers))}"
    with mounts.mounted(Mount("overlay", "overlay", (lowers, *_OFF)), at):
        return shown(at)


def shown(root: Path) -> Shown:
    """All that can be seen below a directory; times of directories that a test set, too."""
    found: Shown = {}
    for folder, folders, files in os.walk(root):
        for name in [".", *folders, *files]:
            path = Path(folder, name)
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            target = os.readlink(path) if path.is_symlink() else ""
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay.")
            }
            kept = (status.st_mode, status.st_uid, status.st_mtime_ns, content, target, attributes)
            found[os.path.relpath(path, root)] = kept
    return found


def tree(root: Path) -> None:
    """Something to rename and to change: directories three levels deep, with files."""
    for one in "abc":
        for two in "abc":
            (root / one / two / "deep").mkdir(parents=True)
            (root / one / two / "deep" / "file").write_text(f"{root.name} {one}{two}")
            (root / one / two / "link").symlink_to(f"{one}{two}")
        (root / one / "file").write_text(f"{root.name} {one}" * 100)


def churn(root: Path, seed: int, steps: int) -> List[str]:
    """Rename, change and remove at random; what the kernel refuses is passed over.

    Returns:
        What was done, for whoever has to find out why a test failed.
    """
    chance = random.Random(seed)
    done = []
    for number in range(steps):
        everything = sorted(path for path in root.rglob("*"))
        one, other = chance.choice(everything), chance.choice(everything)
        way = chance.choice(
            ["rename", "rename", "rename", "over", "mode", "write", "remove", "new"]
        )
        with contextlib.suppress(OSError):
            _alter(way, one, other, number)
            done.append(f"{way} {one.relative_to(root)} {other.relative_to(root)}")
    return done


def _alter(way: str, one: Path, other: Path, number: int) -> None:
    if way == "rename":
        one.rename(other.parent / f"{one.name[:5]}-{number}")
    elif way == "over":
        one.rename(other)
    elif way == "mode" and not one.is_symlink():
        one.chmod(0o700 + number % 64)
    elif way == "write" and one.is_file() and not one.is_symlink():
        one.write_text(f"written {number}")
    elif way == "remove" and one.is_dir() and not one.is_symlink():
        one.rmdir()
    elif way == "remove":
        one.unlink()
    elif way == "new":
        (other.parent / one.name).mkdir()
