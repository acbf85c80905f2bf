"""The suite itself: what breaks out of its directories meets a read-only machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.sources import ROOT

pytestmark = pytest.mark.needs("root")


@pytest.mark.parametrize("place", ["/", "/etc", "/usr", "/home", "/root"])
def test_the_machine_is_read_only(place: str) -> None:
    with pytest.raises(OSError, match="Read-only") as caught:
        os.mkdir(Path(place, "broken-out"))
    assert caught.value.errno == errno.EROFS


def test_tests_can_work(tmp_path: Path) -> None:
    for place in (tmp_path, ROOT, Path("/run"), Path("/var/tmp")):
        (place / "written").mkdir()
        (place / "written").rmdir()
