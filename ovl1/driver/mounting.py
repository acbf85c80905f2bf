"""Who uses a layer: its lock, and how often it has been asked for, both beyond one process.

Each layer has one small file below a runtime directory, which a reboot empties as it ends all
mounts. The file is the layer's lock, and while the layer is mounted it holds a count and the
device number of the mount that was counted. The kernel is believed before the record: without a
mount the count is 0, and a mount that was not recorded counts 1, as for a daemon that finds its
containers mounted after a restart.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from ovl1.errors import BrokenStore, NotPossibleHere, Refused
from ovl1.linux import locks, mounts
from ovl1.linux.procs import users_of
from ovl1.model import LayerId

_RECORD = re.compile(rb" *(\d+) +(\d+)\n")


class Use:
    """A layer while its lock is held."""

    def __init__(self, fd: int, merged: Path) -> None:
        self._fd = fd
        self._merged = merged

    @property
    def count(self) -> int:
        """How often the layer is in use; 0 if it is not mounted."""
        device = _device(self._merged)
        if device is None:
            return 0
        record = _RECORD.fullmatch(os.pread(self._fd, 64, 0))
        if record is None or int(record.group(2)) != device:
            return 1
        return int(record.group(1))

    def record(self, count: int) -> None:
        """Remember `count` of the mount that is there now."""
        # Of one length, so that it is never seen half-way from one to the other.
        line = b"%10d %20d\n" % (count, _device(self._merged) or 0) if count else b""
        os.pwrite(self._fd, line, 0)
        os.ftruncate(self._fd, len(line))


class Uses:
    """The locks and counts of all layers of one driver's home."""

    def __init__(self, runtime: Path, home: Path) -> None:
        self._directory = runtime / hashlib.sha256(os.fsencode(home)).hexdigest()[:32]
        self._home = home

    @contextlib.contextmanager
    def locked(self, layer_id: LayerId) -> Iterator[Use]:
        """Wait for the layer's lock, and hold it for the time of the block; not reentrant.

        The layer itself need not exist.
        """
        self._directory.mkdir(0o700, parents=True, exist_ok=True)
        path = self._directory / layer_id
        with locks.held(path) as fd:
            try:
                yield Use(fd, self._home / layer_id / "merged")
            finally:
                if not os.fstat(fd).st_size:
                    with _fine(errno.ENOENT):
                        path.unlink()

    def known(self) -> List[str]:
        """The names of all lock files: layers in use, and what killed processes have left."""
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []


def _device(merged: Path) -> Optional[int]:
    """The device number of what is mounted there; None if nothing is."""
    try:
        device, outside = os.lstat(merged).st_dev, os.lstat(merged.parent).st_dev
    except FileNotFoundError:
        return None
    return device if device != outside else None


@contextlib.contextmanager
def mount_point(merged: Path, owner: Tuple[int, int]) -> Iterator[None]:
    """Make the mount point for a block that mounts; if it fails, neither of them is there.

    Raises:
        BrokenStore: a directory of the layer is missing.
        NotPossibleHere: the kernel refused.
    """
    with _fine(errno.EEXIST):
        merged.mkdir(0o700)
        os.chown(merged, *owner)
    try:
        yield
    except BaseException as err:
        unmount_from(merged)
        if isinstance(err, FileNotFoundError):
            raise BrokenStore(f"{merged.parent} is not whole: it cannot be mounted") from err
        if isinstance(err, OSError):
            raise NotPossibleHere(
                f"{merged} cannot be mounted: {err.strerror}",
                details="The kernel's log (dmesg) says more.",
                resolution="Run `ovl1 info` to see what this host is able to do.",
            ) from err
        raise


def unmount_from(merged: Path) -> None:
    """Unmount lazily, as Docker does, and remove the mount point; fine if it is not mounted.

    To remove it also takes the mount away from other mount namespaces, where it would keep the
    layer busy (``vfs: Lazily remove mounts on unlinked files and directories``, Linux 3.18).
    """
    with _fine(errno.EINVAL, errno.ENOENT):
        mounts.detach(merged)
    with _fine(errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
        merged.rmdir()


def unmount_below(directory: Path) -> None:
    """Unmount everything below `directory`, not lazily.

    Raises:
        Refused: something uses a mount; says which processes.
    """
    for target in mounts.mounted_below(directory):
        try:
            with _fine(errno.EINVAL, errno.ENOENT):
                mounts.umount(target)
        except OSError as err:
            if err.errno != errno.EBUSY:
                raise
            raise _busy(target) from err


def detach_below(directory: Path) -> None:
    """Unmount everything below `directory` lazily: at the end, when nobody can be asked to stop."""
    for target in mounts.mounted_below(directory):
        with _fine(errno.EINVAL, errno.ENOENT):
            mounts.detach(target)


def _busy(target: Path) -> Refused:
    users = [user for user in users_of(target) if user.pid != os.getpid()]
    return Refused(
        f"{target} is in use",
        details="\n".join(f"process {user.pid} ({user.command}) {user.what}" for user in users)
        or "No process was found that uses it; it may be this one, or one that cannot be seen.",
        resolution="Stop the container, or end the processes; then try again.",
    )


@contextlib.contextmanager
def _fine(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno not in numbers:
            raise
