"""A disk whose power fails: what was not on it is gone, and its log is replayed at the next mount.

The file system is shut down under everybody without flushing its log, by the ioctl that xfstests
uses; from then on each call fails, and nothing reaches the disk any more. What a disk itself would
lose or reorder within its own cache is not shown. Also a way to put a whole file system back to
what it was, down to inode numbers and times.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator

from ovl1.linux import mounts

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32)
_NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH, XFS_FSOP_GOING_FLAGS_NOLOGFLUSH

_MKFS = {
    "ext4": ("-q", "-F", "-m", "0", "-N", "1024", "-E", "nodiscard,lazy_itable_init=1"),
    "xfs": ("-q", "-f", "-K"),
}
_MEBIBYTES = {"ext4": 64, "xfs": 320}
_MOUNT_OPTIONS = {"ext4": "loop,noinit_itable", "xfs": "loop"}
KINDS = tuple(_MKFS)

_PATIENCE = 5.0
_FILLER = "filler"


class Disk:
    """A file system in a file, mounted; for `disk` to make."""

    def __init__(self, kind: str, image: Path, mount_point: Path) -> None:
        self.kind = kind
        self.mount_point = mount_point
        self._image = image

    @property
    def data_root(self) -> Path:
        """A directory that is not the file system's own root."""
        return self.mount_point / "docker"

    def keep(self, name: str) -> Path:
        """Everything as it is now, safe on the disk, for `put_back`."""
        kept = self._image.with_name(name)
        self.unmount()
        _copy(self._image, kept)
        self.mount()
        return kept

    def put_back(self, kept: Path) -> None:
        """Let everything be as it was; whoever has something open here must be gone."""
        self.unmount()
        _copy(kept, self._image)
        self.mount()

    def commit(self) -> None:
        """Let the log reach the disk, as the kernel does every few seconds anyway.

        Not the contents of files, for which nobody asked: they may come much later.
        """
        path = self.mount_point / "beside"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        try:
            os.utime(fd)
            os.fsync(fd)
        finally:
            os.close(fd)

    def lose_power(self) -> None:
        """From now on nothing reaches the disk; until `restart` all calls fail."""
        fd = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restart(self) -> None:
        """Mount it anew from what is on the disk; whoever has something open must be gone."""
        self.unmount()
        self.mount()

    def use_up_inodes(self) -> None:
        """Leave no inode to anybody, until `make_room`."""
        place = self._filler()
        with contextlib.suppress(OSError):
            for number in itertools.count():
                os.mknod(place / str(number))

    def use_up_space(self) -> None:
        """Leave no block to anybody, until `make_room`."""
        fd = os.open(self._filler() / "blocks", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        try:
            system = os.fstatvfs(fd)
            end, size = 0, system.f_bavail * system.f_frsize
            while size >= system.f_frsize:
                try:
                    os.posix_fallocate(fd, end, size)
                    end += size
                except OSError:
                    size //= 2
        finally:
            os.close(fd)

    def make_room(self) -> None:
        """Give back what was used up, if anything was."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.mount_point / _FILLER)

    def _filler(self) -> Path:
        made = self.mount_point / _FILLER
        made.mkdir(exist_ok=True)
        return made

    def mount(self) -> None:
        """Mount it, which replays the log."""
        options = _MOUNT_OPTIONS[self.kind]
        _run("mount", "-t", self.kind, "-o", options, str(self._image), str(self.mount_point))

    def unmount(self) -> None:
        """Unmount it; a killed process that is not quite gone gets a moment."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                mounts.umount(self.mount_point)
            except OSError as err:
                if err.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


@contextlib.contextmanager
def disk(kind: str, directory: Path) -> Iterator[Disk]:
    """A new, empty file system, mounted below `directory`; unmounted at the end.

    Args:
        kind: one of `KINDS`.
    """
    place = Path(tempfile.mkdtemp(prefix=f"disk-{kind}-", dir=directory))
    mount_point, image = place / "mnt", place / "image"
    mount_point.mkdir()
    image.touch()
    os.truncate(image, _MEBIBYTES[kind] << 20)
    _run(f"mkfs.{kind}", *_MKFS[kind], str(image))
    made = Disk(kind, image, mount_point)
    made.mount()
    try:
        yield made
    finally:
        if os.path.ismount(mount_point):
            made.unmount()
        # Never a recursive removal where something may still be mounted.
        if not os.path.ismount(mount_point):
            shutil.rmtree(place)


def _copy(source: Path, target: Path) -> None:
    _run("cp", "--sparse=always", "--reflink=auto", str(source), str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
