"""What a file system and the kernel can do here, found out by trying, in a scratch directory.

Version numbers lie (RHEL's 3.10 has multiple lowers, a 6.x kernel may lack the module), so each
ability is tried for real and what the try left is removed again.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterable, NamedTuple

from ovl1.errors import OvlError
from ovl1.linux import libc, mounts, xattrs


class Ability(NamedTuple):
    """The outcome of one try."""

    works: bool
    reason: str
    """Why it does not work; empty if it does."""


def probe(directory: Path, names: Iterable[str] = ()) -> Dict[str, Ability]:
    """Try abilities below `directory`, which is left as it was but for its own times.

    Args:
        names: what to try; everything if not given. Only the overlays mount something.

    Returns:
        By name: ``d_type`` (getdents64 tells file types), ``hardlinks``, ``user_xattr``,
        ``trusted_xattr``, ``mknod`` (a whiteout device), ``reflink``, ``overlay`` (one lower, as
        v1 needs), ``overlay_multiple_lowers`` (as overlay2 needs).
    """
    with tempfile.TemporaryDirectory(prefix="ovl1-probe-", dir=directory) as scratch:
        return {
            name: _try(_ATTEMPTS[name], Path(scratch) / name)
            for name in (tuple(names) or _ATTEMPTS)
        }


def _try(attempt: Callable[[Path], None], scratch: Path) -> Ability:
    scratch.mkdir()
    try:
        attempt(scratch)
    except (OSError, OvlError) as err:
        return Ability(False, err.strerror or str(err) if isinstance(err, OSError) else str(err))
    return Ability(True, "")


def _d_type(scratch: Path) -> None:
    (scratch / "file").touch()
    (scratch / "dir").mkdir()
    types = dict(libc.directory_types(os.fspath(scratch)))
    if types.get(b"file") != stat.S_IFREG >> 12 or types.get(b"dir") != stat.S_IFDIR >> 12:
        raise OSError(errno.EOPNOTSUPP, "directory entries carry no file type (xfs ftype=0?)")


def _hardlinks(scratch: Path) -> None:
    (scratch / "file").touch()
    os.link(scratch / "file", scratch / "link")


def _set_xattr(scratch: Path, name: str) -> None:
    fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        xattrs.set_fd(fd, name, b"y")
    finally:
        os.close(fd)


def _mknod(scratch: Path) -> None:
    os.mknod(scratch / "whiteout", stat.S_IFCHR, os.makedev(0, 0))


def _reflink(scratch: Path) -> None:
    (scratch / "source").write_bytes(b"x" * 4096)
    with open(scratch / "source", "rb") as source, open(scratch / "target", "wb") as target:
        libc.clone_file(source.fileno(), target.fileno())


def _overlay(scratch: Path, lowers: int) -> None:
    lower = [scratch / f"lower{number}" for number in range(lowers)]
    upper, work, merged = scratch / "upper", scratch / "work", scratch / "merged"
    for path in (*lower, upper, work, merged):
        path.mkdir()
    with mounts.mounted(mounts.overlay(lower, upper, work), merged):
        (merged / "file").touch()


_ATTEMPTS: Dict[str, Callable[[Path], None]] = {
    "d_type": _d_type,
    "hardlinks": _hardlinks,
    "user_xattr": lambda scratch: _set_xattr(scratch, "user.ovl1"),
    "trusted_xattr": lambda scratch: _set_xattr(scratch, "trusted.ovl1"),
    "mknod": _mknod,
    "reflink": _reflink,
    "overlay": lambda scratch: _overlay(scratch, 1),
    "overlay_multiple_lowers": lambda scratch: _overlay(scratch, 2),
}
