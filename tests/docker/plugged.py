"""A daemon whose storage driver is ovl1's plugin."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

from tests.docker.daemon import STOP_PATIENCE, Daemon
from tests.support.plugin import Serve

# Where dockerd looks for them; the place is compiled in.
PLUGINS = Path("/run/docker/plugins")


class Plugged(NamedTuple):
    """The plugin, and the daemon that uses it by the name of its socket."""

    serve: Serve
    daemon: Daemon

    @property
    def name(self) -> str:
        """Of the storage driver."""
        return self.serve.path.stem

    @property
    def home(self) -> Path:
        """Where the layers are."""
        return self.daemon.data_root / self.name


def plugin(work: Path, *options: str, name: str = "") -> Serve:
    """The plugin under a name that no other test has; not started."""
    work.mkdir(parents=True, exist_ok=True)
    return Serve(PLUGINS / f"{name or f'ovl1-{os.urandom(4).hex()}'}.sock", work, options)


@contextlib.contextmanager
def plugged(
    data_root: Path,
    work: Path,
    *options: str,
    name: str = "",
    seen_as: Path | None = None,
    daemon_options: Sequence[str] = (),
) -> Iterator[Plugged]:
    """Both, running; `options` are the plugin's, and `seen_as` is for the daemon."""
    serve = plugin(work / "plugin", *options, name=name)
    daemon = Daemon(
        data_root,
        serve.path.stem,
        work / "daemon",
        seen_as=seen_as,
        options=("--experimental", *daemon_options),
    )
    with contextlib.ExitStack() as stack:
        stack.callback(serve.end)
        if seen_as is None:
            serve.start()
            stack.enter_context(daemon)
        else:
            # What it mounts must be in the daemon's namespace, which is there when it has begun.
            thread = threading.Thread(target=_start_beside, args=(serve, daemon))
            thread.start()
            stack.callback(thread.join)
            stack.enter_context(daemon)
        yield Plugged(serve, daemon)


def _start_beside(serve: Serve, daemon: Daemon) -> None:
    while daemon._process is None or not _is_dockerd(daemon.pid):
        time.sleep(0.01)
    serve.prefix = ("nsenter", "--mount", "--target", str(daemon.pid))
    serve.start()


def _is_dockerd(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"


def restart(daemon: Daemon, number: int) -> None:
    """End the daemon with a signal, and nothing beside it, and start it again."""
    process, mounted = daemon._process, daemon._mounted_before
    assert process is not None
    process.send_signal(number)
    process.wait(STOP_PATIENCE)
    # Its containerd dies with it, and where nobody waits for orphans, seems to be alive.
    (daemon.work / "exec/containerd/containerd.pid").unlink(missing_ok=True)
    daemon.start()
    # What the killed one has left is still to be tidied up in the end.
    daemon._mounted_before = mounted


def await_running(daemon: Daemon, name: str) -> None:
    """Wait until a container runs that the daemon starts by itself."""
    deadline = time.monotonic() + 20
    while daemon.docker("inspect", "-f", "{{.State.Running}}", name) != "true":
        assert time.monotonic() < deadline
        time.sleep(0.05)
