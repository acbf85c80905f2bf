"""A throw-away file system: made in a sparse file, mounted through a loop device, and gone after.

For tests, benchmarks and the demo, which want exact inode figures, a chosen number of inodes, or
another kind of file system than the one at hand. Needs root, a loop device and the ``mkfs``
program of that kind. Not for data that must survive: the image file has no name once mounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator, Sequence

from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.linux import mounts

GIB = 1 << 30

# Quick ones: no discard of the sparse file, tables zeroed lazily, and ext4 keeps nothing for root.
_MKFS = {
    "ext4": ("-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"),
    "xfs": ("-q", "-f", "-K"),
    "btrfs": ("-q", "-f", "-K"),
}
KINDS = tuple(_MKFS)
_SMALLEST = {"ext4": 1 << 20, "xfs": 300 << 20, "btrfs": 110 << 20}
# ext4's lazy zeroing would run beside whatever is being measured.
_MOUNT_OPTIONS = {"ext4": "loop,noinit_itable"}

# Never lazily: a hidden user would keep the loop device. But one that is ending gets a moment.
_UMOUNT_PATIENCE = 2.0


@contextlib.contextmanager
def loop_file_system(
    kind: str,
    directory: Path,
    size_bytes: int = 4 * GIB,
    inodes: int | None = None,
    mkfs_options: Sequence[str] = (),
) -> Iterator[Path]:
    """Yield the mount point of a new, empty file system; afterwards nothing of it is left.

    Args:
        kind: ``ext4``, ``xfs`` or ``btrfs``.
        directory: where the sparse file lives and the mount point is made.
        size_bytes: size that the file system sees; the disk is only used as it fills.
        inodes: how many inodes it has (ext4 only; rounded up to whole block groups by mkfs).
        mkfs_options: further arguments of ``mkfs``.

    Raises:
        NotPossibleHere: no such ``mkfs``, no loop device, not root, unknown to the kernel.
        OSError: ``EBUSY`` at the end: something still uses the mount point, which it names.
    """
    if kind not in _MKFS:
        raise WrongUsage(
            f"cannot make a file system of kind {kind!r}: not one of {', '.join(KINDS)}"
        )
    if size_bytes < _SMALLEST[kind]:
        raise WrongUsage(f"{kind} needs at least {_SMALLEST[kind]} bytes, not {size_bytes}")
    options = [*_MKFS[kind], *mkfs_options]
    if inodes is not None:
        if kind != "ext4":
            raise WrongUsage(f"the number of inodes can be chosen for ext4 only, not for {kind}")
        options += ["-N", str(inodes)]
    mount_point = Path(tempfile.mkdtemp(prefix=f"loop-{kind}-", dir=directory))
    try:
        _make_and_mount(kind, mount_point.with_suffix(".img"), size_bytes, options, mount_point)
        try:
            yield mount_point
        finally:
            _umount(mount_point)
    finally:
        # Never a recursive removal: after a failed umount that would empty the file system.
        if not os.path.ismount(mount_point):
            mount_point.rmdir()


def _umount(mount_point: Path) -> None:
    deadline = time.monotonic() + _UMOUNT_PATIENCE
    while True:
        try:
            mounts.umount(mount_point)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _make_and_mount(
    kind: str, image: Path, size_bytes: int, options: Sequence[str], mount_point: Path
) -> None:
    with image.open("wb") as sparse:
        sparse.truncate(size_bytes)
    try:
        _run(f"mkfs.{kind}", *options, str(image))
        loop = _MOUNT_OPTIONS.get(kind, "loop")
        _run("mount", "-t", kind, "-o", loop, str(image), str(mount_point))
    finally:
        # The loop device holds the file: without a name it cannot outlive the mount.
        os.unlink(image)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise NotPossibleHere(
            f"the program {command[0]} is missing",
            resolution="Install e2fsprogs, xfsprogs, btrfs-progs or mount, whichever has it.",
        ) from error
    except subprocess.CalledProcessError as error:
        raise NotPossibleHere(
            f"{command[0]} failed: no file system in a file on this host",
            details=error.stderr.decode(errors="replace").strip(),
            resolution="It needs root and a loop device (/dev/loop-control).",
        ) from error
