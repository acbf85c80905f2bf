"""The unix socket that a daemon finds a plugin by."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Iterator

from ovl1.errors import Refused, WrongUsage

_LONGEST = 107  # sockaddr_un, unix(7), less the zero at the end
_BACKLOG = 128


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, for root alone (mode 0600), for the time of the block.

    The directory is made if it is missing. A socket that nobody listens at any more is replaced;
    ours is removed at the end.

    Raises:
        WrongUsage: the path is too long for a socket.
        Refused: something else is there, or somebody listens.
    """
    if len(os.fsencode(path)) > _LONGEST:
        raise WrongUsage(f"{path} is too long for a socket: {_LONGEST} bytes at most")
    path.parent.mkdir(0o755, parents=True, exist_ok=True)
    _clear(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        # Before it has a name: there is no moment at which others could connect.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(os.fspath(path))
        mine = os.lstat(path)
        try:
            # Whatever the umask, and the kernel's habits.
            os.chmod(path, 0o600)
            sock.listen(_BACKLOG)
            yield sock
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(path), mine):
                    path.unlink()


def inherited(fd: int) -> socket.socket:
    """A socket that systemd listens at for us; it stays there when we end.

    Raises:
        WrongUsage: the descriptor is no such socket.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as err:
        raise WrongUsage(f"file descriptor {fd} is no socket: {err.strerror}") from err
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM) or not listens:
        sock.detach()
        raise WrongUsage(
            f"file descriptor {fd} is not a unix socket to listen at",
            resolution="Use ListenStream= with the path of the socket.",
        )
    sock.set_inheritable(False)
    return sock


def _clear(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Refused(f"{path} is there, and is no socket", resolution="Remove it, if you can.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise Refused(
        f"somebody listens at {path} already",
        resolution="Stop the other plugin, or give another --socket.",
    )
