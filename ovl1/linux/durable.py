"""Durable changes: what returned is on the disk, whatever happens to the power next.

A file is written under a temporary name beside its target, fsynced, given its mode and owner,
renamed over the target, and the directory is fsynced. All metadata that ovl1 writes into a store
goes through here. POSIX promises nothing about a rename that was not followed by an fsync of the
directory, and ext4 and xfs keep that promise to the letter.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Optional, Tuple

from ovl1.linux import libc

TEMPORARY_SUFFIX = ".ovl1-tmp"

_BLOCK = 1 << 16


def write_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o644,
    owner: Optional[Tuple[int, int]] = None,
    times_ns: Optional[Tuple[int, int]] = None,
) -> None:
    """Create or replace the file at `path`; readers see the old content or the new, whole.

    Args:
        mode: permission bits, independent of the umask.
        owner: user and group id; the caller's own if not given.
        times_ns: access and modification time; now if not given.
    """
    made = temporary(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made)  # A crash left it, or it is a link that somebody else made.
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write(fd, data)
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            if times_ns is not None:
                os.utime(fd, ns=times_ns)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(made, path)
    except BaseException:
        # An interrupt may come right after the rename.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made)
        raise
    sync_directory(path.parent)


def temporary(path: Path) -> Path:
    """Where `write_file` makes what becomes the file at `path`; a kill may leave it there."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def create_file(path: Path, data: bytes, *, mode: int) -> None:
    """Create a file that must not exist, as part of a tree that is synced as a whole later."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _write(fd, data)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def append_line(path: Path, line: bytes) -> None:
    """Append `line` and a newline to a log that only one process writes, and fsync it.

    A last line that a crash or a full disk cut short is dropped first: nothing may follow it.
    """
    created = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        whole = _whole_lines(fd)
        os.ftruncate(fd, whole)
        os.lseek(fd, whole, os.SEEK_SET)
        try:
            _write(fd, line + b"\n")
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, whole)
            raise
    finally:
        os.close(fd)
    if created:
        sync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """rename(2), then fsync of both directories."""
    os.rename(source, target)
    sync_directory(target.parent)
    if source.parent != target.parent:
        sync_directory(source.parent)


def exchange(first: Path, second: Path) -> None:
    """Let two names change places at one instant, then fsync of both directories.

    Raises:
        OSError: as `libc.exchange`; then nothing was changed.
    """
    libc.exchange(os.fspath(first), os.fspath(second))
    sync_directory(first.parent)
    if first.parent != second.parent:
        sync_directory(second.parent)


def sync_directory(path: Path) -> None:
    """fsync a directory: names made in it or removed from it stay so."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: Path) -> None:
    """syncfs: everything written to the file system that holds `path` is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.syncfs(fd)
    finally:
        os.close(fd)


def _whole_lines(fd: int) -> int:
    """Where the last newline of the file ends, or 0."""
    end = os.fstat(fd).st_size
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
