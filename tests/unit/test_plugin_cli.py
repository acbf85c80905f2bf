"""``ovl1 serve`` as a process: sockets given and found, signals, what it says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Dict, Iterator

import pytest
from click.testing import CliRunner

from ovl1.cli.main import cli
from ovl1.errors import WrongUsage
from tests.support.plugin import Serve
from tests.support.plugin_client import Connection
from tests.support.sources import ROOT

pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")


@pytest.fixture
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        yield Path(name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_it_serves_until_it_is_told_to_end(work: Path) -> None:
    port = free_port()
    with Serve(work / "x.sock", work, ["--metrics", f"127.0.0.1:{port}"]) as serve:
        assert serve.path.stat().st_mode & 0o777 == 0o600
        idle = Connection(serve.path)
        assert idle.ask("Plugin.Activate").status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            assert b'calls_total{call="Plugin.Activate"' in response.read()
        assert serve.stop() == 0
        assert not serve.path.exists()
        idle.close()
        # And again.
        serve.start()
        assert serve.stop() == 0
    lines = serve.logged().splitlines()
    assert f"ovl1: serving overlay1 at {serve.path}" in lines
    assert any(line.startswith("ovl1: Activate 0.") for line in lines)


def test_a_name_in_the_log_cannot_act(work: Path) -> None:
    with Serve(work / "x.sock", work) as serve:
        connection = Connection(serve.path)
        connection.ask("GraphDriver.Get", {"ID": "\x1b[2J\n\u202eovl1: fine"})
        connection.close()
        serve.stop()
    assert "\x1b" not in serve.logged()
    assert "\\x1b[2J\\n\\u202eovl1: fine" in serve.logged()


def test_a_killed_one_is_replaced(work: Path) -> None:
    with Serve(work / "x.sock", work) as serve:
        serve.kill()
        assert serve.path.exists()
        serve.start()
        assert serve.stop() == 0


def test_systemd_passes_the_socket_and_is_told(work: Path) -> None:
    path = work / "given.sock"
    with socket.socket(socket.AF_UNIX) as given, socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM
    ) as notified:
        given.bind(str(path))
        given.listen()
        notified.bind(str(work / "notify"))
        notified.settimeout(20)
        serve = Serve(work / "unused.sock", work)
        command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@" 3<&0 </dev/null', "sh", *serve.command()]
        environment: Dict[str, str] = {
            **os.environ,
            "LISTEN_FDS": "1",
            "NOTIFY_SOCKET": str(work / "notify"),
            "PYTHONPATH": str(ROOT),
        }
        with subprocess.Popen(
            command, stdin=given.fileno(), env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert notified.recv(100) == b"READY=1"
                connection = Connection(path)
                assert connection.ask("Plugin.Activate").status == 200
                connection.close()
                process.send_signal(signal.SIGTERM)
                assert notified.recv(100) == b"STOPPING=1"
                assert process.wait(20) == 0
            finally:
                process.kill()
            assert process.stderr is not None
            assert f"serving overlay1 at {path}" in process.stderr.read()
        assert path.exists()
        assert not (work / "unused.sock").exists()
        # Who comes now waits for the next one.
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--socket", "/tmp/overlay.sock"], "a driver overlay of its own"),
        (["--socket", "/tmp/ovl1"], "end in .sock"),
        (["--socket", f"/tmp/{'x' * 120}.sock"], "too long"),
        (["--layout", "aufs"], "aufs"),
        (["--metrics", "9323"], "HOST:PORT"),
        (["--metrics", "localhost:99999"], "HOST:PORT"),
    ],
)
def test_wrong_usage(work: Path, arguments: list[str], said: str) -> None:
    place = [] if "--socket" in arguments else ["--socket", str(work / "x.sock")]
    result = CliRunner().invoke(cli, ["serve", "--state", str(work), *place, *arguments])
    assert said in f"{result.output}{result.exception}"
    assert isinstance(result.exception, WrongUsage) or result.exit_code == 2
    assert not list(work.iterdir())


def test_without_the_library(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ovl1.plugin.server", None)
    options = ["serve", "--socket", str(work / "x.sock"), "--state", str(work)]
    result = CliRunner().invoke(cli, options)
    assert "pip install" in str(result.exception)
