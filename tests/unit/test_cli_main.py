"""The command as a whole: options, exit codes, help, interruption."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from click.testing import CliRunner

from ovl1.cli import main
from ovl1.cli.main import COMMANDS, cli, run
from ovl1.errors import CheckFailed, HalfDone, NotPossibleHere, OvlError, Refused, WrongUsage
from tests.support.sources import ROOT
from tests.support.store_builder import small_store


@pytest.fixture(autouse=True)
def same_limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def ovl1(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ovl1", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def present() -> List[str]:
    return [name for name in COMMANDS if (ROOT / "ovl1" / "cli" / f"{name}.py").exists()]


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in present():
        assert f"\n  {name} " in result.output
    assert "_OVL1_COMPLETE" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    pages = [[name], *([name, sub] for sub in getattr(command, "commands", ()))]
    for page in pages:
        result = CliRunner().invoke(cli, [*page, "--help"])
        assert result.exit_code == 0
        if page != [name] or not hasattr(command, "commands"):
            assert "Examples:" in result.output
            assert "--json" in result.output


def test_a_missing_command_file_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "nowhere", "A command without a file.")
    assert "nowhere" not in CliRunner().invoke(cli, ["--help"]).output
    assert CliRunner().invoke(cli, ["nowhere"]).exit_code == 2


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nonsense"]) == 2
    assert "No such command" in capsys.readouterr().err
    assert run(["--json", "nonsense"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["exit_code"] == 2
    assert "No such command" in error["brief"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailed("x"), 1),
        (WrongUsage("x"), 2),
        (Refused("x"), 3),
        (HalfDone("x"), 4),
        (NotPossibleHere("x"), 5),
        (OvlError("x"), 1),
        (PermissionError(13, "Permission denied", "x"), 5),
        (OSError(5, "Input/output error", "x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("ovl1.cli.info.discover", fail)
    assert run(["info"]) == code
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.strip().startswith("ovl1: ")
    assert "Traceback" not in shown.err


def test_a_store_error_as_json(tmp_path: Path) -> None:
    done = ovl1("--data-root", str(tmp_path), "image", "ls", "--json")
    assert done.returncode == 2
    assert not done.stdout
    # Behind the command, --json counts for errors, too.
    assert json.loads(done.stderr)["error"]["kind"] == "WrongUsage"


def test_interruption_is_one_line() -> None:
    script = (
        "import os, signal, sys\n"
        "import ovl1.cli.info as info\n"
        "info.discover = lambda _: os.kill(os.getpid(), signal.SIGINT)\n"
        "from ovl1.cli.main import run\n"
        "sys.exit(run(['info']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert done.returncode == main.INTERRUPTED
    assert done.stderr.strip() == "ovl1: interrupted"


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    small_store(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "ovl1", "--data-root", str(tmp_path), "image", "ls"],
            cwd=ROOT,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_does_not_know_every_character(tmp_path: Path, encoding: str) -> None:
    small_store(tmp_path).image(None, "漢:1")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = ovl1("--data-root", str(tmp_path), "image", "ls", env=environment)
    assert done.returncode == 0
    assert not done.stderr
    assert len(done.stdout.splitlines()) == 5


def test_the_limit_of_open_files_is_raised() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard))
    run(["--version"])
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_version() -> None:
    assert ovl1("--version").stdout.startswith("ovl1, version ")


def test_completion_is_offered() -> None:
    done = ovl1(env={**os.environ, "_OVL1_COMPLETE": "bash_source"})
    # The program is `python -m ovl1` here, but the variable is that of the installed command.
    assert "_OVL1_COMPLETE" in done.stdout
