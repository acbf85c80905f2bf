"""A private ``dockerd``, and the few words of its interface that are needed.

Its data-root, state, socket and configuration are its own; it has no network and runs no container.
It ends with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterable, List, NamedTuple, Optional

from ovl1.bench.child import Check
from ovl1.closing import Closing
from ovl1.errors import NotPossibleHere, OvlError
from ovl1.linux import libc, mounts

LAST_WITH_OVERLAY = 23
"""Docker 24 removed the overlay driver (moby#45342)."""

_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"
"""Not all who may become root have these in their PATH."""
_START_PATIENCE, _STOP_PATIENCE = 60.0, 30.0
_MOMENT = 0.05
_LONGEST_SOCKET = 104  # What containerd takes; sun_path has room for three more.


class Program(NamedTuple):
    """A ``dockerd``."""

    path: Path
    version: str


def find() -> Program:
    """The ``dockerd`` of this machine.

    Raises:
        NotPossibleHere: there is none that has the overlay driver.
    """
    program = shutil.which("dockerd") or shutil.which("dockerd", path=_PLACES)
    resolution = (
        "Install Docker 20.10 (Debian 12: apt-get install docker.io containerd runc), or leave "
        "--docker away."
    )
    if program is None:
        raise NotPossibleHere("there is no dockerd on this machine", resolution=resolution)
    said = subprocess.run(
        [program, "--version"], check=False, capture_output=True, text=True, errors="replace"
    ).stdout
    version = re.search(r"version v?(\d+)\.([^\s,]+)", said)
    if version is None:
        raise NotPossibleHere(
            f"{program} does not tell its version", details=said.strip(), resolution=resolution
        )
    if int(version.group(1)) > LAST_WITH_OVERLAY:
        raise NotPossibleHere(
            f"dockerd {version.group(1)} has no overlay driver any more",
            details=f"The last release that has it is {LAST_WITH_OVERLAY}.0.",
            resolution=resolution,
        )
    return Program(Path(program), f"{version.group(1)}.{version.group(2)}")


class Dockerd(Closing):
    """A daemon; between `start` and `stop` it answers.

    Args:
        program: see `find`.
        driver: its storage driver.
        data_root: made if missing, in a directory where nobody else mounts anything.
        work: a directory of its own, with a short path, for everything else.
        check: called while there is nothing to do but wait.
    """

    def __init__(
        self, program: Program, driver: str, data_root: Path, work: Path, check: Check
    ) -> None:
        self.socket = work / "sock"
        self._program = program
        self._driver = driver
        self._data_root = data_root
        self._work = work
        self._check = check
        self._process: Optional[subprocess.Popen[bytes]] = None

    def close(self) -> None:
        """End it; idempotent."""
        if self._process is not None:
            self.stop(patience=0)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            NotPossibleHere: it ends instead, or does not answer in a minute.
        """
        longest = self._work / "exec/containerd/containerd-debug.sock"
        if len(os.fsencode(longest)) > _LONGEST_SOCKET:
            raise NotPossibleHere(
                f"{longest} is too long for the path of a socket",
                resolution="Set TMPDIR to a directory with a shorter path.",
            )
        self._data_root.mkdir(exist_ok=True)
        (self._work / "daemon.json").write_text("{}")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_before_exec,  # noqa: PLW1509 - it takes no lock
            )
        deadline = time.monotonic() + _START_PATIENCE
        while not self._answers():
            self._check()
            if self._has_ended() or time.monotonic() > deadline:
                raise NotPossibleHere(
                    f"dockerd with the {self._driver} driver does not come up",
                    details="\n".join(self._log.read_text(errors="replace").splitlines()[-8:]),
                    resolution="Look into its log, above, or leave --docker away.",
                )
            time.sleep(_MOMENT)

    def stop(self, patience: float = _STOP_PATIENCE) -> int:
        """End it.

        Args:
            patience: seconds after which it is killed.

        Returns:
            bytes of memory of the largest process there was: itself, or one of its children.
        """
        process, self._process = self._process, None
        assert process is not None, "it is not running"
        # Not by Popen, which would look first whether it has ended, and forget what it used.
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(_MOMENT)
        process.returncode = status
        self._sweep()
        return usage.ru_maxrss << 10

    def load(self, archive: Iterable[bytes]) -> None:
        """As ``docker load``; the archive comes in pieces.

        Raises:
            OvlError: it says no.
        """
        said = self._ask("POST", "/images/load?quiet=1", archive)
        if b'"error' in said:
            raise OvlError("dockerd could not load an image", details=said.decode(errors="replace"))

    def remove(self, name: str) -> None:
        """As ``docker rmi``.

        Raises:
            OvlError: it says no.
        """
        self._ask("DELETE", f"/images/{name}")

    def _ask(self, method: str, path: str, body: Optional[Iterable[bytes]] = None) -> bytes:
        headers = {"Host": "docker"}
        if body is not None:
            headers.update({"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"})
        with contextlib.closing(_Connection(self.socket)) as connection:
            connection.request(
                method, path, body=body, headers=headers, encode_chunked=body is not None
            )
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= 400:
            raise OvlError(
                f"dockerd says no to {method} {path}", details=said.decode(errors="replace")
            )
        return said

    def _answers(self) -> bool:
        try:
            return self._ask("GET", "/_ping") == b"OK"
        except (OSError, http.client.HTTPException, OvlError):
            return False

    def _has_ended(self) -> bool:
        """It is left for `stop` to ask what it used."""
        assert self._process is not None
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    @property
    def _log(self) -> Path:
        return self._work / "log"

    def _command(self) -> List[str]:
        return [
            # A containerd that is slow to end leaves a log where temporary files are.
            *("env", "-u", "DOCKER_TMPDIR", f"TMPDIR={self._work}"),
            str(self._program.path),
            f"--storage-driver={self._driver}",
            f"--data-root={self._data_root}",
            f"--exec-root={self._work / 'exec'}",
            f"--config-file={self._work / 'daemon.json'}",
            f"--host=unix://{self.socket}",
            f"--pidfile={self._work / 'pid'}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]

    def _sweep(self) -> None:
        """Nothing is mounted after a daemon that ended by itself; one that was killed leaves it."""
        # The data-root itself is then mounted on itself.
        for place in (self._data_root.parent, self._work):
            for target in mounts.mounted_below(place.resolve()):
                mounts.umount(target)


class _Connection(http.client.HTTPConnection):
    """To a socket that is a file."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        """Open it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.fspath(self._path))


def _before_exec() -> None:
    # Whoever made us may hold signals back; a daemon must be able to stop.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    libc.die_with_parent()
