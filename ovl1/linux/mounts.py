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

from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.linux import libc
from ovl1.model import Mount

_OCTAL = re.compile(rb"\\([0-7]{3})")
_LABEL = re.compile(r"[\w:.,-]+", re.ASCII)


def overlay(
    lower: Sequence[Path],
    upper: Optional[Path] = None,
    work: Optional[Path] = None,
    *,
    label: str = "",
) -> Mount:
    """An overlay of `lower` (topmost first), writable if `upper` and `work` are given.

    ``index``, ``redirect_dir`` and ``metacopy`` are switched off where the kernel has them:
    with hardlinked lowers, which v1 lives on, ``index=on`` gives ESTALE (coreos/bugs#2152), and
    the other two leave uppers that older kernels cannot read.

    Args:
        label: the SELinux context that all files in it get, if any.

    Raises:
        WrongUsage: `label` is no context, and could be taken for further options.
    """
    options = ["lowerdir=" + ":".join(map(_escape, lower))]
    if upper is not None and work is not None:
        options += [f"upperdir={_escape(upper)}", f"workdir={_escape(work)}"]
    parameters = Path("/sys/module/overlay/parameters")
    for feature in ("index", "redirect_dir", "metacopy"):
        if upper is not None and (parameters / feature).exists():
            options.append(f"{feature}=off")
    if label:
        if not _LABEL.fullmatch(label):
            raise WrongUsage(f"{label[:100]!r} is not an SELinux context")
        options.append(f'context="{label}"')
    return Mount("overlay", "overlay", tuple(options))


def _escape(path: Path) -> str:
    return re.sub(r"([\\,:])", r"\\\1", os.fspath(path))


def mount(what: Mount, target: Path, *, within: Optional[Path] = None) -> None:
    """Mount it.

    Args:
        within: the directory that relative names in the options and in `target` start from,
            which makes the options of many layers short. No other thread sees the change of the
            working directory.

    Raises:
        NotPossibleHere: the options exceed the page that mount(2) copies.
        OSError: the kernel refused; the error names the target.
    """
    data = _data(what)
    if not fits(what):
        raise NotPossibleHere(
            f"the mount options for {target} need {len(data)} bytes, a page has {mmap.PAGESIZE}",
            details="mount(2) copies at most one page of options; long paths of many layers "
            "exceed it.",
            resolution="Use a data-root with a shorter path.",
        )
    if within is None:
        libc.mount(what.source, os.fspath(target), what.fstype, 0, data)
        return

    # Its import takes longer than most of what needs mount points takes with them.
    from concurrent.futures import ThreadPoolExecutor

    def mount_there() -> None:
        libc.unshare(libc.CLONE_FS)
        os.chdir(within)
        libc.mount(what.source, os.fspath(target), what.fstype, 0, data)

    # A thread has a working directory of its own after that, and takes it along when it ends.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(mount_there).result()


def fits(what: Mount) -> bool:
    """Whether its options fit into the page that mount(2) copies."""
    return len(os.fsencode(_data(what))) < mmap.PAGESIZE


def _data(what: Mount) -> str:
    return ",".join(what.options)


def umount(target: Path) -> None:
    """Unmount it, not lazily: whoever still uses it would be hidden, not gone."""
    libc.umount(os.fspath(target))


def detach(target: Path) -> None:
    """Unmount it lazily: its name is free now, and it ends with the last of those who use it."""
    libc.umount(os.fspath(target), libc.MNT_DETACH)


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


def mounted_below(directory: Path) -> List[Path]:
    """Every mount point below `directory` (not itself), deepest first, in our own namespace.

    Args:
        directory: a path without symbolic links.
    """
    inside = os.fsencode(directory) + b"/"
    found = [point.path for point in mount_points() if point.path.startswith(inside)]
    return [Path(os.fsdecode(path)) for path in sorted(found, key=len, reverse=True)]


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
