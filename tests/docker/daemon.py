"""A real ``dockerd`` that belongs to one test: started, asked, stopped, and nothing left behind.

Its socket, run-time state and log lie in a work directory of its own, so any number of them can
run side by side, each on its own data-root. Containers have no network. Not for daemons that
somebody else started: everything that is killed or unmounted here carries our work directory or
data-root in its command line or mount point.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Iterator, Sequence

from ovl1.linux import mounts
from tests.support.capabilities import buildkit_client
from tests.support.plugin_client import Connection

START_PATIENCE = 60.0
STOP_PATIENCE = 60.0

# $0 is the data-root, $1 where it is to be seen; the rest is the command.
_MOVE_DATA_ROOT = """
    seen=$1; shift
    mount -t tmpfs none "$(dirname "$seen")"
    mkdir "$seen"
    mount --bind "$0" "$seen"
    ip link set lo up
    exec "$@"
"""


class DockerError(Exception):
    """``docker`` said no; `stderr` is what it said."""

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        super().__init__(f"docker {' '.join(command)}: {stderr}")
        self.stderr = stderr


class DaemonError(Exception):
    """``dockerd`` did not come up; the message ends with the tail of its log."""


@functools.lru_cache(maxsize=None)
def docker_client() -> str:
    """The first ``docker`` on the path that can build with BuildKit, else the first at all."""
    client = buildkit_client() or shutil.which("docker")
    assert client is not None, "there is no docker client on the path"
    return client


class Daemon:
    """A ``dockerd``, running inside ``with``; `stop` and `start` in between restart it.

    Args:
        data_root: on a file system that can hold an overlay upper directory.
        driver: the storage driver, or None to let the daemon choose.
        work: short path of a directory for socket, state and log; it is made if need be.
        seen_as: where the daemon is to see the data-root, in namespaces of its own: for a store
            that was written there, and whose containers name that path.
        options: further arguments of ``dockerd``.
    """

    def __init__(
        self,
        data_root: Path,
        driver: str | None,
        work: Path,
        *,
        seen_as: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.data_root = data_root
        self.driver = driver
        self.work = work
        self.seen_as = seen_as
        self.options = options
        self.socket = work / "sock"
        self.log = work / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._mounted_before: list[Path] = []

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running daemon."""
        assert self._process is not None, "the daemon is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert len(str(self.socket)) < 100, f"too long for a unix socket: {self.socket}"
        self.data_root.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self._mounted_before = self._mounts()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_for_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the containers, end the daemon, remove what it might have left; idempotent."""
        if self._process is None:
            return
        with contextlib.suppress(DockerError):
            self.kill_containers()
        self._process.terminate()
        try:
            self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._sweep()

    def docker(
        self,
        *args: str,
        stdin: bytes = b"",
        source: IO[bytes] | None = None,
        check: bool = True,
        buildkit: bool = False,
    ) -> str:
        """What ``docker`` prints, without the last newline; not-UTF-8 bytes as surrogates.

        It reads `stdin`, or the open file `source`.

        Raises:
            DockerError: it failed, and `check` is set.
        """
        done = subprocess.run(
            [docker_client(), *args],
            stdin=source,
            input=stdin if source is None else None,
            check=False,
            capture_output=True,
            env=self._environment(buildkit),
        )
        if check and done.returncode != 0:
            raise DockerError(args, _text(done.stderr))
        return _text(done.stdout)

    @contextlib.contextmanager
    def streaming(self, *args: str) -> Iterator[IO[bytes]]:
        """The standard output of ``docker`` as a stream, which must be read to its end."""
        process = subprocess.Popen(
            [docker_client(), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                yield process.stdout
            except BaseException:
                process.kill()
                raise
            stderr = process.stderr.read()
        if process.returncode != 0:
            raise DockerError(args, _text(stderr))

    @contextlib.contextmanager
    def asked(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """What the API answers to a GET, which ``docker`` would take a process to pass on.

        Raises:
            DockerError: the daemon refuses, or the answer ends too early.
        """
        with contextlib.closing(Connection(self.socket)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise DockerError((path,), json.loads(response.read())["message"])
            try:
                yield response
            except http.client.IncompleteRead as error:
                raise DockerError((path,), "unexpected EOF") from error

    def build(self, tag: str, dockerfile: str, buildkit: bool = False) -> str:
        """Build `dockerfile` without a context, named `tag` if that is not empty; the image id."""
        name = ["-t", tag] if tag else []
        return self.docker(
            *("build", "-q", "--network=none", *name, "-"),
            stdin=dockerfile.encode(),
            buildkit=buildkit,
        )

    def kill_containers(self) -> None:
        """End all running containers, also those that the daemon itself started."""
        running = self.docker("ps", "-q", "--no-trunc").split()
        if running:
            self.docker("kill", *running, check=False)

    def _command(self) -> list[str]:
        if self.seen_as is None:
            return ["dockerd", f"--data-root={self.data_root}", "--bridge=none", *self._options()]
        return [
            *("unshare", "--mount", "--net", "sh", "-ec", _MOVE_DATA_ROOT),
            *(str(self.data_root), str(self.seen_as)),
            *("dockerd", f"--data-root={self.seen_as}", *self._options()),
        ]

    def _options(self) -> list[str]:
        return [
            *([f"--storage-driver={self.driver}"] if self.driver else []),
            f"--exec-root={self.work / 'exec'}",
            f"--host=unix://{self.socket}",
            f"--pidfile={self.work / 'pid'}",
            "--iptables=false",
            "--ip6tables=false",
            *self.options,
        ]

    def _environment(self, buildkit: bool = False) -> dict[str, str]:
        """Ours, but with no setting of the user's that could lead the client astray."""
        return {
            **{name: value for name, value in os.environ.items() if "DOCKER" not in name},
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.work),
            "DOCKER_BUILDKIT": str(int(buildkit)),
        }

    def _wait_for_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_PATIENCE
        while True:
            with contextlib.suppress(DockerError, OSError, http.client.HTTPException), self.asked(
                "/version"
            ):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace").splitlines()[-20:]
                raise DaemonError("dockerd did not come up:\n" + "\n".join(tail))
            time.sleep(0.02)

    def _sweep(self) -> None:
        """After a crash or a failed start: even the data-root is left bind-mounted on itself."""
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for mount_point in reversed(self._mounts()[len(self._mounted_before) :]):
            mounts.umount(mount_point)

    def _processes(self) -> Iterator[int]:
        """Leftover containerd and shims, which name our run-time directory, and containers."""
        runtime, store = os.fsencode(self.work / "exec"), os.fsencode(self.data_root)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                roots = [at for at in mounts.mount_points(entry.name) if at.path == b"/"]
                command = (entry / "cmdline").read_bytes()
                if runtime in command or any(store in root.options for root in roots):
                    yield int(entry.name)

    def _mounts(self) -> list[Path]:
        """Mount points in our directories, oldest first; the data-root itself may be one."""
        ours = (self.data_root, self.work)
        points = [Path(os.fsdecode(point.path)) for point in mounts.mount_points()]
        return [
            point for point in points if any(place in (point, *point.parents) for place in ours)
        ]


def _text(output: bytes) -> str:
    return output.decode(errors="surrogateescape").rstrip("\n")
