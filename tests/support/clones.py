"""Clones of trees in tests: where they are made, and by what."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ovl1.linux.beneath import Directory
from ovl1.tree.clone import Cloned, clone


def scratch(disk: Path) -> Path:
    """A directory with an empty ``source`` and an empty ``target``."""
    place = Path(tempfile.mkdtemp(dir=disk))
    (place / "source").mkdir()
    (place / "target").mkdir()
    return place


def cloned(place: Path, workers: int | None = 1) -> Cloned:
    """Clone the source to the target."""
    with Directory.open(place / "source") as source, Directory.open(place / "target") as target:
        return clone(source, target, workers=workers)


def entries(root: Path) -> int:
    """How many names there are but for directories."""
    return sum(not entry.is_dir() or entry.is_symlink() for entry in root.rglob("*"))


def make_names(directory: Path, number: int) -> None:
    """Many names of few inodes."""
    for index in range(number):
        if index % 30000 == 0:
            first = directory / str(index)
            first.touch()
        else:
            os.link(first, directory / str(index))
