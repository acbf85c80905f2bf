"""What a host calls its users and groups (``passwd(5)``, ``group(5)``, whatever nsswitch adds)."""

from __future__ import annotations

import functools
import grp
import os
import pwd


@functools.lru_cache(maxsize=None)
def user_name(uid: int) -> bytes:
    """The name of a user; empty if there is none. Asked for once, as Go's archive/tar does."""
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return b""


@functools.lru_cache(maxsize=None)
def group_name(gid: int) -> bytes:
    """The name of a group; empty if there is none."""
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return b""
