"""``ovl1`` on a store of its own, as a child process, and the proof that a store is unchanged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional

from ovl1.cli.main import run
from ovl1.driver import opening
from ovl1.driver.common import OverlayDriver
from ovl1.store.layout import Layout
from ovl1.store.store import Store
from tests.support.child import Ended, in_child
from tests.support.manifest import Entry, manifest

REFUSED = 3


class Ovl1:
    """Runs ``ovl1`` on one data-root, with one driver."""

    def __init__(self, data_root: Path, driver: str, runtime: Path) -> None:
        self.data_root = data_root
        self.driver = driver
        self.runtime = runtime

    @property
    def layout(self) -> Layout:
        return Layout(self.data_root.resolve(), self.driver)

    def store(self) -> Store:
        return Store.of(self.layout)

    def action(self, *arguments: str, stdin: Optional[Path] = None) -> Callable[[], int]:
        """What the command does, to be done in a child."""
        options = ["--data-root", os.fspath(self.data_root), "--driver", self.driver]

        def command() -> int:
            for function in (OverlayDriver.__init__, opening.open_driver):
                function.__kwdefaults__["runtime"] = self.runtime
            if stdin is not None:
                os.dup2(os.open(stdin, os.O_RDONLY), 0)
                sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the child's whole life
            return run([*options, *arguments])

        return command

    def ended(self, *arguments: str, stdin: Optional[Path] = None) -> Ended:
        return in_child(self.action(*arguments, stdin=stdin))

    def __call__(self, *arguments: str, stdin: Optional[Path] = None, code: int = 0) -> Ended:
        ended = self.ended(*arguments, stdin=stdin)
        assert ended.code == code, ended
        return ended

    def json(self, *arguments: str, stdin: Optional[Path] = None) -> Any:
        return json.loads(self(*arguments, "--json", stdin=stdin).out)

    def error(
        self, *arguments: str, stdin: Optional[Path] = None, code: int = REFUSED
    ) -> Dict[str, Any]:
        """The parts of the error with which the command ends."""
        ended = self(*arguments, "--json", stdin=stdin, code=code)
        assert ended.out == ""
        (line,) = ended.err.splitlines()
        error: Dict[str, Any] = json.loads(line)["error"]
        assert set(error) == {"brief", "details", "resolution", "kind", "exit_code"}
        assert error["exit_code"] == code
        return error

    def manifest(self) -> Dict[bytes, Entry]:
        return steady(self.layout)


def steady(layout: Layout) -> Dict[bytes, Entry]:
    """The whole data-root, but for the times of directories in which things come and go."""
    busy = {layout.home, layout.staging, layout.links, layout.image_configs, layout.layers}
    busy |= {layout.data_root, layout.repositories.parent, layout.image_metadata}
    if layout.home.is_dir():
        busy |= {place for place in layout.home.iterdir() if len(place.name) == 64}
    passing = {os.fsencode(path.relative_to(layout.data_root)) for path in busy}
    return {
        name: entry._replace(mtime_ns=0, size=0) if name in passing else entry
        for name, entry in manifest(layout.data_root).items()
    }


@contextlib.contextmanager
def daemon_on(data_root: Path, scratch: Path) -> Iterator[None]:
    """A program that is called dockerd, and waits."""
    program = scratch / "dockerd"
    shutil.copy(shutil.which("dash") or "/bin/sh", program)
    command = [os.fspath(program), "-c", "echo; read line", "sh", f"--data-root={data_root}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield
        finally:
            process.kill()
