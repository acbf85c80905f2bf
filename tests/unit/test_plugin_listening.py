"""The socket: for root alone, never taken from somebody, gone at the end."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.errors import Refused, WrongUsage
from ovl1.plugin.listening import inherited, listening


@pytest.fixture
def path() -> Iterator[Path]:
    """Short, and in a directory that is still to be made."""
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        yield Path(name, "plugins", "x.sock")


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_it_is_for_its_owner_alone(path: Path, umask: int) -> None:
    path.parent.mkdir()
    before = os.umask(umask)
    try:
        with listening(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert not path.exists()


def test_the_directory_is_made(path: Path) -> None:
    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert path.parent.is_dir()


def test_what_a_killed_one_left_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_it_is_not_taken_from_another(path: Path) -> None:
    with listening(path):
        with pytest.raises(Refused, match="listens"), listening(path):
            pass
        assert path.exists()


def test_a_file_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(Refused, match="no socket"), listening(path):
        pass
    assert path.read_text() == "precious"


def test_what_took_its_place_is_left_alone(path: Path) -> None:
    with listening(path):
        path.unlink()
        path.write_text("another")
    assert path.read_text() == "another"


def test_a_path_too_long(path: Path) -> None:
    with pytest.raises(WrongUsage, match="too long"), listening(path.with_name("x" * 108)):
        pass


def test_one_from_systemd(path: Path) -> None:
    with listening(path) as sock:
        taken = inherited(os.dup(sock.fileno()))
        assert taken.getsockname() == str(path)
        assert not taken.get_inheritable()
        taken.close()
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_INET) as inet:
        inet.bind(("127.0.0.1", 0))
        inet.listen()
        for sock in (other, inet):
            with pytest.raises(WrongUsage, match="not a unix socket"):
                inherited(sock.fileno())
    with open(os.devnull) as file, pytest.raises(WrongUsage, match="no socket"):
        inherited(file.fileno())
