"""Who uses a store: processes, through `psutil` (its only importer), and mounts; and being nice.

Looked for: a daemon with the store as its data-root, a process with an open file, its program, its
root or its working directory below it, a mount whose mount point or whose layers lie below it, in
any mount namespace that a process of this machine has. Limits: a namespace kept alive only by a
bind mount of its file is not seen, and without privileges other users' processes are not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set

import psutil

from ovl1.linux import mounts

_DAEMONS = ("dockerd", "docker", "docker-current", "balenad", "balena-engine-daemon")
_ROOT_OPTIONS = ("--data-root", "--graph", "-g")
_DEFAULT_ROOT = "/var/lib/docker"
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


IO_CLASSES = ("idle", "best-effort")

_LAST = 7
"""The lowest priority within the class best-effort, see ioprio_set(2)."""


class User(NamedTuple):
    """A process, or a mount that a process's namespace holds, which uses the store."""

    pid: int
    command: str
    what: str
    """In words: ``is a daemon on it``, ``has ... open``, ``runs ...``, ``has ... mounted``."""


def users_of(data_root: Path, *, but_for: Optional[Path] = None) -> List[User]:
    """Everybody who uses the store at `data_root` now; this process is left out.

    Args:
        but_for: a mount point below it, of which no notice is taken.
    """
    root = data_root.resolve()
    ignored = os.fsencode(but_for) if but_for else b""
    found: List[User] = []
    namespaces: Set[str] = set()
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            command = process.name()
            found += [User(process.pid, command, what) for what in _uses(process, root)]
            found += [
                User(process.pid, command, what)
                for what in _mounts(process.pid, root, namespaces, ignored)
            ]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    here = _mounts(os.getpid(), root, namespaces, ignored)
    found += [User(os.getpid(), "ovl1", what) for what in here]
    return found


def work_gently(*, nice: Optional[int] = None, ionice: Optional[str] = None) -> None:
    """Let others go first, from now on; children do as well.

    Args:
        nice: by how much less important than before, see nice(2).
        ionice: one of `IO_CLASSES`; within best-effort, this process comes last.
    """
    if nice:
        os.nice(nice)
    if ionice == "idle":
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    elif ionice is not None:
        psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, _LAST)


def _uses(process: psutil.Process, root: Path) -> Iterator[str]:
    if process.name() in _DAEMONS and _daemon_root(process.cmdline()) == root:
        yield "is a daemon on it"
        return
    if _beneath(process.cwd(), root):
        yield f"works in {process.cwd()}"
    if _beneath(process.exe(), root):
        yield f"runs {process.exe()}"
    if _beneath(_own_root(process.pid), root):
        yield f"has its root in {_own_root(process.pid)}"
    for file in process.open_files():
        if _beneath(file.path, root):
            yield f"has {file.path} open"
            return


def _own_root(pid: int) -> str:
    """What ``/`` is for a process: another directory after chroot(2)."""
    try:
        return os.readlink(f"/proc/{pid}/root")
    except OSError:
        return ""


def _daemon_root(arguments: List[str]) -> Path:
    options: Dict[str, str] = {}
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in _ROOT_OPTIONS:
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            options[name] = value if equals else following
    for name in _ROOT_OPTIONS:
        if options.get(name):
            return Path(options[name]).resolve()
    return Path(_DEFAULT_ROOT).resolve()


def _mounts(pid: int, root: Path, namespaces: Set[str], ignored: bytes) -> Iterator[str]:
    try:
        namespace = os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return
    if namespace in namespaces:
        return
    namespaces.add(namespace)
    inside = os.fsencode(root) + b"/"
    for point in mounts.mount_points(str(pid)):
        if point.path == ignored:
            continue
        if point.path.startswith(inside) or _names(point.options, inside):
            yield f"has {os.fsdecode(point.path)} mounted ({point.fstype})"


def _names(options: bytes, inside: bytes) -> bool:
    """Whether a layer of an overlay lies there; its options are shown as they were escaped."""
    return any(
        sign + inside in text
        for text in (options, _ESCAPED.sub(rb"\1", options))
        for sign in (b"=", b":")
    )


def _beneath(path: str, root: Path) -> bool:
    return path == os.fspath(root) or path.startswith(os.fspath(root) + "/")
