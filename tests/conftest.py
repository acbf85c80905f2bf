"""How the suite meets the machine: capabilities, how deep to test, and a sweep at the end."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from pathlib import Path
from typing import Iterator, List

import hypothesis
import pytest
from _pytest.terminal import TerminalReporter

pytest.register_assert_rewrite("tests.support")

from tests.support import faults_tally  # noqa: E402
from tests.support.capabilities import REQUIRED, names, probe  # noqa: E402
from tests.support.leftovers import (  # noqa: E402
    TOKEN,
    enter_own_mount_namespace,
    leftovers,
    settled,
)
from tests.support.sealed import DAEMONS, make_daemons_places, seal  # noqa: E402
from tests.support.sources import ROOT  # noqa: E402

_FULL = "--full"
_CI = os.environ.get("CI") == "true"

# Speed of the machine is no property of the code, hence no deadline. In CI the same commit must
# give the same answer twice, hence derandomised.
hypothesis.settings.register_profile("quick", deadline=None, derandomize=_CI)
hypothesis.settings.register_profile("full", deadline=None, derandomize=_CI, max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        _FULL, action="store_true", help="the full form of the heavy test matrices (much longer)"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it sends to the background with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if enter_own_mount_namespace():
        make_daemons_places()
        basetemp = config.getoption("basetemp")
        scratch = [Path(tempfile.gettempdir()), *([Path(basetemp).parent] if basetemp else [])]
        seal([ROOT, *scratch, *DAEMONS])
    hypothesis.settings.load_profile("full" if config.getoption(_FULL) else "quick")


def pytest_report_header(config: pytest.Config) -> List[str]:
    found = {name: probe(name) for name in names()}
    able = " ".join(name for name, capability in found.items() if capability.available)
    lines = [f"this machine can: {able or 'nothing special'}"]
    for name, capability in found.items():
        if not capability.available:
            lines.append(f"this machine cannot: {name} ({capability.reason})")
    return lines


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    faults_tally.tell(terminalreporter)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            capability = probe(name)
            if capability.available:
                continue
            if _CI and name in REQUIRED:
                pytest.fail(f"CI must have {name}: {capability.reason}", pytrace=False)
            pytest.skip(f"needs {name}: {capability.reason}")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether to run the full form of a heavy matrix."""
    return bool(request.config.getoption(_FULL))


@pytest.fixture(scope="session", autouse=True)
def no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session that leaves mounts, loop devices or processes behind.

    Set up first and so torn down last. All temporary files are made below one directory, and all
    child processes inherit a token: that is how leftovers are told from other people's things.
    """
    # Short: containerd's sockets lie far below, and containerd takes paths of 104 bytes.
    scratch: Path = tmp_path_factory.mktemp("s")
    base = scratch.parent
    token = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, token)
        patch.setenv("TMPDIR", str(scratch))
        patch.setattr(tempfile, "tempdir", str(scratch))
        before = leftovers(base, token)
        yield
        left = settled(base, token, before)
    if left:
        pytest.fail("\n".join(["tests left things behind:", *sorted(left)]), pytrace=False)
