"""Nobody else may work on a store while it is migrated."""

from __future__ import annotations

from pathlib import Path

from ovl1.errors import Refused, listed
from ovl1.linux.procs import users_of
from ovl1.store.layout import OVERLAY, Layout


def refuse_if_used(data_root: Path) -> None:
    """Refuse to go on if somebody else is at work on the store; changes nothing.

    Raises:
        Refused: a daemon, a process or a mount uses it; names them. Or the layers are on a file
            system of their own, which is a mount, too, but not one to be unmounted.
    """
    _check_one_file_system(Layout(data_root, OVERLAY).home)
    users = users_of(data_root)
    if users:
        found = [f"process {user.pid} ({user.command}) {user.what}" for user in users]
        raise Refused(
            f"{data_root} is in use",
            details=listed(found),
            resolution="Stop Docker (systemctl stop docker.socket docker), unmount what is still "
            "mounted below, then run this again.",
        )


def _check_one_file_system(home: Path) -> None:
    # A link is a matter of the store's own checks. A bind mount of the same file system, which
    # Docker 1.12 to 17.12 made of the directory itself, is to be unmounted, as others.
    if home.is_dir() and home.lstat().st_dev != home.parent.stat().st_dev:
        raise Refused(
            f"{home} is on a file system of its own",
            details="It must be renamed and hardlinked within the data-root's file system.",
            resolution="Mount that file system on the data-root instead, with everything in it.",
        )
