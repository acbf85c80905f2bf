"""A machine that tests can only change where they are meant to.

What the suite feeds to the code under test is made to break out of directories, and it runs as
root: a single mistake in that code would delete the machine's own files, and the test that finds
it would be the last one. So everything but a few places is read-only for the session; who breaks
out meets ``EROFS``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterable

from ovl1.linux import libc

_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 0x1, 0x20, 0x1000  # linux/mount.h

# Where daemons keep what is theirs: /etc/docker/key.json is written by every start of Docker 20.10.
DAEMONS = (Path("/run"), Path("/var"), Path("/etc/docker"))


def seal(writable: Iterable[Path]) -> bool:
    """Make the root file system read-only below, but for these directories; whether it could be.

    In this mount namespace, which must be the caller's own; what is mounted elsewhere stays as it
    is. Without root's rights it is neither possible nor needed.
    """
    if os.geteuid() != 0:
        return False
    places = {path.resolve() for path in writable if path.is_dir()}
    try:
        for place in sorted(places):
            libc.mount(str(place), str(place), "", _MS_BIND, "")
        libc.mount("", "/", "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY, "")
    except PermissionError:
        return False
    return True


def make_daemons_places() -> None:
    """Make what a daemon would make at its first start, while that is still possible."""
    with contextlib.suppress(OSError):
        DAEMONS[-1].mkdir(mode=0o755, exist_ok=True)
