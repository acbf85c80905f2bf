"""Directory trees for tests: random changes to them, and what a plain walk sees, as a value.

`shown` looks at a tree through the mount, with `os.walk` and none of ovl1's own code, so that it
can contradict it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from hypothesis import strategies as st

Change = Tuple[str, bytes, bytes, int]
"""What to do, at which path, with which other path or content, and a number to vary it."""

_PATHS = st.sampled_from(
    (b"a", b"a/a", b"a/b", b"a/b/a", b"a/b/c", b"a/c", b"b", b"b/a", b"c", b"d \xff\n")
)
_ACTS = (
    "write", "write", "append", "remove", "remove", "mkdir", "mkdir", "symlink", "link", "chmod",
    "chown", "touch", "fifo", "xattr", "rename", "replace",
)  # fmt: skip

changes: st.SearchStrategy[List[Change]] = st.lists(
    st.tuples(st.sampled_from(_ACTS), _PATHS, _PATHS, st.integers(0, 3)), max_size=25
)


def furnish(root: Path) -> None:
    """A tree in which most changes find something to change, hard links of all kinds included."""
    top = os.fsencode(root)
    os.makedirs(os.path.join(top, b"a/b"))
    for path in (b"a/a", b"a/b/a"):
        Path(os.fsdecode(os.path.join(top, path))).write_bytes(path)
    os.link(os.path.join(top, b"a/a"), os.path.join(top, b"b"))
    os.symlink(b"a/b", os.path.join(top, b"c"))
    os.link(os.path.join(top, b"c"), os.path.join(top, b"a/c"), follow_symlinks=False)
    os.mkfifo(os.path.join(top, b"a/b/c"))
    os.link(os.path.join(top, b"a/b/c"), os.path.join(top, b"d \xff\n"))


class Seen(NamedTuple):
    """Everything about an entry that a process in a container could tell."""

    mode: int
    owner: Tuple[int, int]
    device: int
    mtime_ns: int
    content: bytes
    xattrs: Tuple[Tuple[str, bytes], ...]
    same_as: bytes
    """The first path of the same inode: its hard link group."""


def shown(root: Path) -> Dict[bytes, Seen]:
    """The tree at `root`, walked plainly."""
    found: Dict[bytes, Seen] = {}
    first: Dict[int, bytes] = {}
    top = os.fsencode(root)
    for directory, subdirectories, files in os.walk(top):
        subdirectories.sort()
        here = os.path.relpath(directory, top)
        found[here] = _seen(directory, here)
        for name in sorted(files) + [
            n for n in subdirectories if os.path.islink(os.path.join(directory, n))
        ]:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, top)
            group = first.setdefault(os.lstat(path).st_ino, relative)
            found[relative] = _seen(path, group)
    return found


def _seen(path: bytes, group: bytes) -> Seen:
    status = os.lstat(path)
    content = b""
    if stat.S_ISREG(status.st_mode):
        content = Path(os.fsdecode(path)).read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return Seen(
        mode=status.st_mode,
        owner=(status.st_uid, status.st_gid),
        device=status.st_rdev,
        mtime_ns=status.st_mtime_ns,
        content=content,
        xattrs=tuple(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in names
            if not name.startswith("trusted.overlay.")
        ),
        same_as=group,
    )


def change(root: Path, todo: Sequence[Change]) -> None:
    """Make the changes one after the other; one that cannot be made is left out."""
    top = os.fsencode(root)
    for act, path, other, number in todo:
        with contextlib.suppress(OSError, shutil.Error):
            _change(act, os.path.join(top, path), os.path.join(top, other), number)


def _change(act: str, path: bytes, other: bytes, number: int) -> None:
    if act in ("write", "append"):
        how = os.O_APPEND if act == "append" else os.O_TRUNC
        # Without O_NONBLOCK, a fifo would wait for a reader.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | how, 0o644)
        try:
            os.write(fd, b"%d" % number * number)
        finally:
            os.close(fd)
    elif act in ("remove", "replace"):
        is_directory = os.path.isdir(path) and not os.path.islink(path)
        (shutil.rmtree if is_directory else os.unlink)(path)
        if act == "replace":
            os.mkdir(path)
            with open(os.path.join(path, b"b"), "wb") as file:
                file.write(b"new")
    elif act == "mkdir":
        os.mkdir(path)
    elif act == "symlink":
        os.symlink((b"a", b"b/c", b"dangling", b"c")[number], path)
    elif act == "link":
        os.link(other, path, follow_symlinks=False)
    elif act == "fifo":
        os.mkfifo(path)
    elif act == "rename":
        os.rename(other, path)
    else:
        _change_metadata(act, path, number)


def _change_metadata(act: str, path: bytes, number: int) -> None:
    if act == "chmod":
        if not os.path.islink(path):
            os.chmod(path, (0o700, 0o4755, 0o1777, 0o600)[number])
    elif act == "chown":
        os.chown(path, number, 1000 + number, follow_symlinks=False)
    elif act == "touch":
        times = (-1, 10**9 + 1, 4102444800 * 10**9, 0)[number]
        os.utime(path, ns=(0, times), follow_symlinks=False)
    elif act == "xattr":
        os.setxattr(path, f"trusted.x{number}", b"v" * number, follow_symlinks=False)
