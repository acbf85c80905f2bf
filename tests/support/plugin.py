"""``ovl1 serve`` as a process of its own: started, asked, killed, started anew."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Sequence

from tests.support.plugin_client import Connection
from tests.support.sources import ROOT

PATIENCE = 20.0


class Serve:
    """The plugin, running inside ``with``; `stop`, `kill` and `start` in between restart it.

    Args:
        path: of the socket; short.
        work: for its log and state.
        options: of ``ovl1 serve``.
    """

    def __init__(self, path: Path, work: Path, options: Sequence[str] = ()) -> None:
        self.path = path
        self.state = work / "state"
        self.log = work / "serve.log"
        self.prefix: Sequence[str] = ()
        """Of the command line, to start it somewhere else."""
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Serve:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def command(self) -> List[str]:
        return [
            *self.prefix,
            *(sys.executable, "-m", "ovl1", "-v", "serve"),
            *("--socket", os.fspath(self.path), "--state", os.fspath(self.state)),
            *self._options,
        ]

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def answers(self) -> bool:
        connection = Connection(self.path)
        try:
            return connection.ask("Plugin.Activate").status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """End it as systemd does, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End it in the middle of whatever it does; idempotent."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """Kill it and remove its socket, which would stay; idempotent."""
        self.kill()
        self.path.unlink(missing_ok=True)

    def logged(self) -> str:
        return self.log.read_text(errors="replace")
