"""Fuzzing for half a minute (with ``--full`` ten), and proof that it would find something.

In CI the same inputs are tried each time as long as the code is the same; `tools/fuzz` by hand
tries others.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.fuzz import session
from tests.fuzz.targets import TARGETS
from tests.fuzz.test_regressions import targets

pytestmark = [pytest.mark.needs("atheris"), pytest.mark.timeout(1200)]

_SECONDS = {"apply": 15, "tar": 4, "tarsplit": 3, "compression": 3, "archive": 4}
_LONGER = 20
_SEED = 1 if os.environ.get("CI") == "true" else 0


@pytest.mark.parametrize("name", targets(TARGETS))
def test_nothing_is_found(name: str, tmp_path: Path, full: bool) -> None:
    seconds = _SECONDS[name] * (_LONGER if full else 1)
    report = session.run(name, seconds, tmp_path / "crashes", seed=_SEED)
    if report.crash is not None:
        pytest.fail(
            f"{report.log[-4000:]}\nKeep it as tests/fuzz/regressions/{name}/{report.crash.name}:\n"
            + base64.encodebytes(report.crash.read_bytes()).decode(),
            pytrace=False,
        )
    assert report.executions > len(TARGETS[name].seeds())
    assert report.coverage > 50


@pytest.mark.needs("root")
def test_a_layer_that_leads_over_a_link_is_found(tmp_path: Path) -> None:
    report = session.run("follows-links", 120, tmp_path / "crashes", seed=2)
    assert report.crash is not None
    assert "AssertionError" in report.log
    assert "around/a/b" in report.log


def test_what_only_a_right_checksum_reaches_is_found(tmp_path: Path) -> None:
    report = session.run("behind-the-checksum", 120, tmp_path / "crashes", seed=1)
    assert report.crash is not None
    assert "a mistake" in report.log


def test_a_fuzzer_that_cannot_start_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        session.run("nothing", 1, tmp_path / "crashes")
