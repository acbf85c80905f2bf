"""The plugin ends, or is killed in the middle of something, while containers run."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux import mounts
from tests.docker import nasty
from tests.docker.daemon import DockerError
from tests.docker.nasty_layers import Entry, layer_tar, layers_archive
from tests.docker.plugged import Plugged, await_running, plugged, restart
from tests.support.plugin_client import Connection

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]
pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")

BASE = "base:1"
RUN = ("run", "-d", "--network=none")
SHELL = ("sh", "-c")
FOREVER = ("sh", "-c", "echo begun >/begun; while :; do echo x >/now; sleep 0.1; done")


@pytest.fixture
def both(disk: Path, work: Path) -> Iterator[Plugged]:
    options = ("--live-restore",)
    with plugged(disk / "docker", work / "w", daemon_options=options) as made:
        made.daemon.docker("import", "-", BASE, stdin=nasty.base())
        yield made


def is_written(both: Plugged, name: str) -> bool:
    """Whether the container still writes into its layer, seen from outside."""
    upper = both.daemon.docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name)
    file = Path(upper, "now")
    before = file.stat().st_mtime_ns
    time.sleep(0.3)
    return file.stat().st_mtime_ns != before


def test_containers_run_on(both: Plugged) -> None:
    daemon, serve = both.daemon, both.serve
    daemon.docker(*RUN, "--name", "one", BASE, *FOREVER)
    daemon.docker(*RUN, "--name", "two", BASE, *FOREVER)
    for end in (serve.stop, serve.kill):
        end()
        assert len(mounts.mounted_below(both.home)) == 2
        assert is_alive(both, "one")
        # Docker tries again for a while; what it asks meanwhile waits.
        late = threading.Timer(0.5, serve.start)
        late.start()
        assert daemon.docker("exec", "one", "cat", "/begun") == "begun"
        late.join()
        assert is_written(both, "one")
        assert "A /begun" in daemon.docker("diff", "two")
        daemon.docker("commit", "two", "committed:1")
        assert daemon.docker("run", "--rm", "--network=none", "committed:1", "cat", "/begun")
        daemon.docker("restart", "-t", "0", "two")
        assert is_written(both, "two")

    # The daemon, and both of them, with the containers running.
    for both_end in (False, True):
        if both_end:
            serve.kill()
            serve.start()
        restart(daemon, signal.SIGTERM)
        await_running(daemon, "one")
        assert is_written(both, "one")
        assert len(mounts.mounted_below(both.home)) == 2
    daemon.docker("rm", "-f", "one", "two")
    assert mounts.mounted_below(both.home) == []
    daemon.docker("image", "prune", "-af")
    assert [name for name in os.listdir(both.home) if not name.endswith("-removing")] == []


def is_alive(both: Plugged, name: str) -> bool:
    """Without asking a daemon that asks the plugin."""
    pid = both.daemon.docker("ps", "-q", "--no-trunc", "-f", f"name={name}")
    return bool(pid) and is_written_below(both)


def is_written_below(both: Plugged) -> bool:
    files = list(both.home.glob("*/upper/now"))
    before = [file.stat().st_mtime_ns for file in files]
    time.sleep(0.3)
    return [file.stat().st_mtime_ns for file in files] != before


def calls(both: Plugged) -> int:
    """How many the plugin has answered."""
    connection = Connection(both.serve.path)
    try:
        text = connection.ask("/metrics", method="GET").body.decode()
    finally:
        connection.close()
    lines = [line for line in text.splitlines() if line.startswith("ovl1_plugin_calls_total")]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def test_killed_in_the_middle_of_anything(both: Plugged, full: bool) -> None:
    """What Docker was doing fails, or is done; afterwards it can be done again."""
    daemon, serve = both.daemon, both.serve
    chance = random.Random(5)
    layers = [nasty.base(), layer_tar([Entry("big", content=os.urandom(8 << 20))])]
    archive = layers_archive(layers, ["loaded:1"])
    build = f"FROM {BASE}\nRUN echo 1 >/1\nRUN echo 2 >/2 && rm /1\n"
    daemon.docker(*RUN, "--name", "always", BASE, *FOREVER)

    def work() -> None:
        """Stops at the first that fails."""
        try:
            daemon.docker("load", stdin=archive)
            daemon.build("built:1", build)
            daemon.docker("run", "--rm", "--network=none", "built:1", "cat", "/2")
            daemon.docker("commit", "always", "committed:1")
            daemon.docker("rmi", "-f", "built:1", "loaded:1", "committed:1")
        except DockerError as error:
            failed.append(str(error))

    failed: list[str] = []
    lasts = 3.0
    if full:
        began = time.monotonic()
        work()
        assert failed == []
        lasts = time.monotonic() - began
    for _ in range(30 if full else 1):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(chance.uniform(0, lasts))
        serve.kill()
        serve.start()
        thread.join()
        assert is_written(both, "always")
        # Whatever it was, it can be done now.
        failed.clear()
        work()
        assert failed == []
    daemon.docker("rm", "-f", *daemon.docker("ps", "-aq").split())
    daemon.docker("image", "prune", "-af")
    assert mounts.mounted_below(both.home) == []
