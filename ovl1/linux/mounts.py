"""Mounting and unmounting, and the list of what is mounted.

A mount is the value `ovl1.model.Mount`; only this module makes one real. Overlay option values
are escaped as the kernel's parser undoes it: a backslash before ``\\``, ``,`` and ``:``
(fs/overlayfs/params.c; moby's drivers do not escape and break on such paths).
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence

from ovl1.errors import NotPossibleHere
from ovl1.linux import libc
from ovl1.model import Mount

_OCTAL = re.compile(rb"\\([0-7]{3})")


def overlay(
    lower: Sequence[Path], upper: Optional[Path] = None, work: Optional[Path] = None
) -> Mount:
    """An overlay of `lower` (topmost first), writable if `upper` and `work` are given.

    ``index``, ``redirect_dir`` and ``metacopy`` are switched off where the kernel has them:
    with hardlinked lowers, which v1 lives on, ``index=on`` gives ESTALE (coreos/bugs#2152), and
    the other two leave uppers that older kernels cannot read.
    """
    options = ["lowerdir=" + ":".join(map(_escape, lower))]
    if upper is not None and work is not None:
        options += [f"upperdir={_escape(upper)}", f"workdir={_escape(work)}"]
    parameters = Path("/sys/module/overlay/parameters")
    for feature in ("index", "redirect_dir", "metacopy"):
        if upper is not None and (parameters / feature).exists():
            options.append(f"{feature}=off")
    return Mount("overlay", "overlay", tuple(options))


def _escape(path: Path) -> str:
    return re.sub(r"([\\,:])", r"\\\1", os.fspath(path))


def mount(what: Mount, target: Path) -> None:
    """Mount it.

    Raises:
        NotPossibleHere: the options exceed the page that mount(2) copies.
        OSError: the kernel refused; the error names the target.
    """
    data = ",".join(what.options)
    if len(os.fsencode(data)) >= mmap.PAGESIZE:
        raise NotPossibleHere(
            f"the mount options for {target} need {len(data)} bytes, a page has {mmap.PAGESIZE}",
            details="mount(2) copies at most one page of options; long paths of many layers "
            "exceed it.",
            resolution="Use a data-root with a shorter path.",
        )
    libc.mount(what.source, os.fspath(target), what.fstype, 0, data)


def umount(target: Path) -> None:
    """Unmount it, not lazily: whoever still uses it would be hidden, not gone."""
    libc.umount(os.fspath(target))


@contextlib.contextmanager
def mounted(what: Mount, target: Path) -> Iterator[Path]:
    """Mount it for the time of the block."""
    mount(what, target)
    try:
        yield target
    finally:
        umount(target)


class MountPoint(NamedTuple):
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    device: str
    root: bytes
    path: bytes
    fstype: str
    source: bytes
    options: bytes
    """The file system's own options; for overlay: lowerdir, upperdir, workdir."""


def mount_points(pid: str = "self") -> List[MountPoint]:
    """What is mounted in the mount namespace of a process; empty when it is gone or forbidden."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_bytes().splitlines()
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM, errno.EINVAL):
            return []
        raise
    return [_parse(line) for line in lines]


def _parse(line: bytes) -> MountPoint:
    before, _, after = line.partition(b" - ")
    fields, extra = before.split(b" "), after.split(b" ", 2)
    return MountPoint(
        device=fields[2].decode(),
        root=_unescape(fields[3]),
        path=_unescape(fields[4]),
        fstype=extra[0].decode(),
        source=_unescape(extra[1]),
        options=_unescape(extra[2]) if len(extra) > 2 else b"",
    )


def _unescape(text: bytes) -> bytes:
    return _OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), text)
