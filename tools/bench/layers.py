"""The layers that benchmarks apply: as large as a distribution's, and changes of it."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Iterator

from tests.docker.nasty_layers import Entry, whiteout

MIB = 1 << 20
ENTRIES = 6800


def base_layer(directory: Path, *, usr: bool = False, entries: int = ENTRIES) -> bytes:
    """A Debian as debootstrap makes it, else as much of this machine's /usr.

    Args:
        directory: where there is room for temporary files.
        usr: do not even try debootstrap.
        entries: how many to take from /usr.
    """
    if shutil.which("debootstrap") and not usr:
        with tempfile.TemporaryDirectory(dir=directory) as name:
            command = ["debootstrap", "--variant=minbase", "bookworm", name]
            if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0:
                return subprocess.run(
                    ["tar", "-C", name, "--one-file-system", "-c", "."],
                    check=True,
                    stdout=subprocess.PIPE,
                ).stdout
        sys.stderr.write("debootstrap failed; taking files from /usr\n")
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer, format=tarfile.PAX_FORMAT) as tar:
        for path in itertools.islice(_files_of_usr(), entries):
            tar.add(path, recursive=False)
    return buffer.getvalue()


def _files_of_usr() -> Iterator[Path]:
    """Small and middle-sized ones, so that the average is that of a distribution's image."""
    for directory, subdirectories, names in os.walk("/usr"):
        subdirectories.sort()
        yield Path(directory)
        for path in (Path(directory, name) for name in sorted(names)):
            if path.is_symlink() or (path.is_file() and path.stat().st_size < MIB):
                yield path


def number_of_entries(tar: bytes) -> int:
    """How many names a tar has."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return len(opened.getnames())


def changes(base: bytes, number: int) -> Iterator[tuple[Entry, ...]]:
    """Layers that each change, delete and add some files."""
    with tarfile.open(fileobj=io.BytesIO(base)) as tar:
        names = [member.name for member in tar if member.isreg()]
    chosen = random.Random(0)
    chosen.shuffle(names)
    for layer in range(number):
        mine = names[layer::number]
        yield (
            *(whiteout(name) for name in mine[:5]),
            *(Entry(name, content=b"changed\n" * 100) for name in mine[5:25]),
            *(Entry(f"bench/{layer}/{i}", content=os.urandom(2000)) for i in range(25)),
        )
