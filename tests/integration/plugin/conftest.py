"""One plugin for many tests, and a data-root for each."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux.loopback import loop_file_system
from tests.support.plugin import Serve
from tests.support.plugin_place import Place, introduced, server


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path_factory.mktemp("disk"), 1 << 30) as mount_point:
        yield mount_point


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with server() as running:
        yield running


@pytest.fixture
def place(disk: Path, serve: Serve) -> Iterator[Place]:
    with introduced(disk, serve) as made:
        yield made
