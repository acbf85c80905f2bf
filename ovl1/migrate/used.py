"""Nobody else may work on a store while it is migrated."""

from __future__ import annotations

from pathlib import Path

from ovl1.errors import Refused, listed
from ovl1.linux.procs import users_of
from ovl1.store.layout import OVERLAY, Layout


def refuse_if_used(data_root: Path, *, only_read: bool = False) -> None:
    """Refuse to go on if somebody else is at work on the store; changes nothing.

    Args:
        only_read: the store is not going to be changed, so its layers may lie on any file system.

    Raises:
        Refused: a daemon, a process or a mount uses it; names them. Or the layers are on a file
            system of their own, which is a mount, too, but not one to be unmounted.
    """
    home = Layout(data_root, OVERLAY).home
    if not only_read:
        _check_one_file_system(home)
    users = users_of(data_root, but_for=home if only_read else None)
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
            resolution="Make a new data-root with `ovl1 migrate run --to DIR`; or mount that file "
            "system on the data-root instead, with everything in it.",
        )
