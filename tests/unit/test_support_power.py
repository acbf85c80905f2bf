"""A disk that loses its power: what is lost, what is kept, and that it can be put back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.manifest import differences, manifest
from tests.support.power import Disk, disk

KINDS = [
    pytest.param(kind, marks=pytest.mark.needs("root", "loop", f"mkfs.{kind}"))
    for kind in ("ext4", "xfs")
]


def synced(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def begin(made: Disk) -> Path:
    """A directory with a file that are on the disk."""
    made.data_root.mkdir()
    (made.data_root / "old").write_bytes(b"old")
    synced(made.data_root / "old")
    synced(made.data_root)
    synced(made.mount_point)
    return made.data_root


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_synced_is_lost(kind: str, tmp_path: Path) -> None:
    with disk(kind, tmp_path) as made:
        root = begin(made)
        before = manifest(root)
        (root / "new").write_bytes(b"new")
        (root / "old").rename(root / "renamed")
        (root / "directory").mkdir()
        made.lose_power()
        with pytest.raises(OSError):  # noqa: PT011 - which one is the file system's affair
            (root / "later").mkdir()
        made.restart()
        assert differences(before, manifest(root)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_synced_is_kept(kind: str, tmp_path: Path) -> None:
    with disk(kind, tmp_path) as made:
        root = begin(made)
        (root / "new").write_bytes(b"new")
        synced(root / "new")
        synced(root)
        made.lose_power()
        made.restart()
        assert (root / "new").read_bytes() == b"new"


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_brings_names_but_not_contents(kind: str, tmp_path: Path) -> None:
    """As a file that was renamed over another without an fsync: the name is there, and empty."""
    with disk(kind, tmp_path) as made:
        root = begin(made)
        (root / "new").write_bytes(b"new")
        made.commit()
        made.lose_power()
        made.restart()
        assert (root / "new").read_bytes() == b""


@pytest.mark.parametrize("kind", KINDS)
def test_everything_can_be_put_back(kind: str, tmp_path: Path) -> None:
    with disk(kind, tmp_path) as made:
        root = begin(made)
        before = manifest(made.mount_point)
        kept = made.keep("kept")
        for _ in range(2):
            (root / "old").rename(root / "renamed")
            (root / "new").mkdir()
            made.put_back(kept)
            assert differences(before, manifest(made.mount_point)) == []


def test_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyError), disk("minix", tmp_path):
        pass
