"""Being the only one who changes a store: other ovl1 commands kept out, no daemon beside us."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, List

from ovl1.errors import Refused
from ovl1.linux import locks
from ovl1.linux.procs import User, users_of

_IS_DAEMON = "is a daemon on it"


@contextlib.contextmanager
def alone(data_root: Path) -> Iterator[None]:
    """Hold the lock of the store for the time of the block.

    Raises:
        Refused: a daemon, or another ovl1 command, works on it.
    """
    with locks.exclusive(data_root):
        found = daemons(data_root)
        if found:
            raise Refused(
                f"a daemon runs on {data_root}",
                details="\n".join(f"process {user.pid} ({user.command})" for user in found),
                resolution="Stop Docker (systemctl stop docker.socket docker), then run this "
                "again.",
            )
        yield


def daemons(data_root: Path) -> List[User]:
    """The daemons that run on a data-root."""
    return [user for user in users_of(data_root) if user.what == _IS_DAEMON]
