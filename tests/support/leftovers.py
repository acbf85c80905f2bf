"""What a test session leaves in the kernel: mounts, loop devices, processes.

Other sessions may be at work on the same machine, so only what can be told to be ours counts:
a mount or a loop device below our scratch directory (or with a source there), and a process that
inherited our token in its environment. A test that mounts elsewhere escapes, and so does a child
that was forked and never called exec: tests stay in their temporary directory and wait for their
forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from pathlib import Path
from typing import Dict, FrozenSet, Iterator

TOKEN = "OVL1_TEST_SESSION"

_CLONE_NEWNS = 0x00020000
_MS_REC = 0x4000
_MS_SLAVE = 1 << 19
_OCTAL = re.compile(rb"\\([0-7]{3})")


def enter_own_mount_namespace() -> bool:
    """Mount where nobody else sees it, and where it ends with our last process; whether it could.

    A session that is killed would otherwise leave its mounts to the next one, and pytest, when it
    clears away old temporary directories, deletes straight through mounts. To look inside:
    ``nsenter --mount --target PID``. Does nothing where it is not allowed: without privileges
    there are no mounts either.
    """
    libc = ctypes.CDLL(None)
    if os.geteuid() != 0 or libc.unshare(_CLONE_NEWNS) != 0:
        return False
    # What others unmount must go away here too, or it would stay busy.
    libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None)
    return True


def leftovers(scratch: Path, token: str) -> FrozenSet[str]:
    """What there is now that belongs to the session with this directory and token, in words."""
    below = os.fsencode(scratch.resolve())
    loops = _loops(below)
    return frozenset(
        [
            *_processes(f"{TOKEN}={token}".encode()),
            *_mounts(below, loops),
            *(f"loop device {device} of {file}" for device, file in loops.items()),
        ]
    )


def settled(
    scratch: Path, token: str, before: FrozenSet[str], patience: float = 5
) -> FrozenSet[str]:
    """What is new since `before`, once things just going away had `patience` seconds for it."""
    deadline = time.monotonic() + patience
    while True:
        left = leftovers(scratch, token) - before
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _loops(below: bytes) -> Dict[str, str]:
    found = {}
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        # A device may go between the listing and the look.
        with contextlib.suppress(OSError):
            file = backing.read_bytes().strip()
            if _inside(file, below):
                found[f"/dev/{backing.parent.parent.name}"] = os.fsdecode(file)
    return found


def _mounts(below: bytes, loops: Dict[str, str]) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = [_unescaped(field) for field in line.split(b" ")]
        target, source = fields[4], fields[fields.index(b"-") + 2]
        if _inside(target, below) or _inside(source, below) or os.fsdecode(source) in loops:
            yield f"mount {os.fsdecode(target)} of {os.fsdecode(source)}"


def _processes(marked: bytes) -> Iterator[str]:
    for directory in Path("/proc").glob("[0-9]*"):
        # Gone, or not ours to look into.
        with contextlib.suppress(OSError):
            if marked in (directory / "environ").read_bytes().split(b"\0"):
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                if command:  # a zombie has none, and no one can kill it
                    yield f"process {directory.name}, {os.fsdecode(command).strip()[:100]}"


def _inside(path: bytes, below: bytes) -> bool:
    return path == below or path.startswith(below + b"/")


def _unescaped(field: bytes) -> bytes:
    return _OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), field)
