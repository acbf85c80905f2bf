"""Putting a layer's directory into the driver's home, and taking it out, each in one step.

A layer is made as ``<id>-creating`` and renamed to its id when it is whole; it is renamed to
``<id>-removing`` before anything of it is deleted. So a directory with an id for a name is a whole
layer, whenever the process was killed or the power went, and everything else can be told to be a
leftover. Callers hold the layer's lock.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Iterator, Optional, Tuple

from ovl1.errors import BrokenStore
from ovl1.linux import durable
from ovl1.linux.beneath import FILE, Directory
from ovl1.model import LayerId
from ovl1.store.layout import TMPROOT
from ovl1.tree.remove import remove_tree

CREATING, REMOVING = "-creating", "-removing"


def leftover_of(name: str) -> Optional[LayerId]:
    """The layer that an entry of the home is a leftover of; None if it is something else."""
    for suffix in (CREATING, REMOVING):
        if name.endswith(suffix):
            with contextlib.suppress(BrokenStore):
                return checked(name[: -len(suffix)])
    return None


def checked(layer_id: str) -> LayerId:
    """A layer's id as it came from outside.

    Raises:
        BrokenStore: it is none, or has white space around it.
    """
    parsed = LayerId.parse(layer_id)
    if parsed != layer_id:
        raise BrokenStore(f"{layer_id[:100]!r} is not a layer id")
    return parsed


@contextlib.contextmanager
def placed(place: Path, *, group: int, sync: bool) -> Iterator[Path]:
    """Yield an empty directory to make a layer in, and put it at `place` after the block.

    Nothing must be at `place` by then. If the block fails, nothing is left; what another process
    left is removed first. The files directly in the directory are durable afterwards, if `sync`.

    Args:
        group: whose members may pass through it: the containers' root (CVE-2021-41091).
    """
    staging = place.with_name(place.name + CREATING)
    remove(staging)
    staging.mkdir(0o700)
    try:
        os.chown(staging, os.geteuid(), group)
        staging.chmod(0o710)
        yield staging
        if sync:
            _sync_files(staging)
            durable.rename(staging, place)
        else:
            os.rename(staging, place)
    except BaseException:
        remove(staging)
        raise


def set_aside(place: Path, *, sync: bool) -> None:
    """Rename a layer's directory, so that it is one no more; durable if `sync`."""
    rename = durable.rename if sync else os.rename
    rename(place, place.with_name(place.name + REMOVING))


@contextlib.contextmanager
def replaced(tree: Path, *, owner: Tuple[int, int], sync: bool) -> Iterator[Directory]:
    """Yield an empty directory, and put it at `tree`, which is missing or empty, after the block.

    It lies beside `tree` as ``tmproot<random>``, where Docker has it. If the block fails, nothing
    is left; what another process left there is removed first. If `sync`, the whole content is on
    the disk before it gets its name.
    """
    for path in tree.parent.glob(f"{TMPROOT}*"):
        remove(path)
    temporary = Path(tempfile.mkdtemp(prefix=TMPROOT, dir=tree.parent))
    try:
        os.chown(temporary, *owner)
        temporary.chmod(0o755)
        with Directory.open(temporary) as directory:
            yield directory
        if sync:
            durable.sync_file_system(temporary)
        os.rename(temporary, tree)
    except BaseException:
        remove(temporary)
        raise
    if sync:
        durable.sync_directory(tree.parent)


def make_directory(path: Path, mode: int, owner: Optional[Tuple[int, int]] = None) -> None:
    """Make a directory with just these permission bits; other bits of `mode` are left out."""
    path.mkdir()
    if owner is not None:
        os.chown(path, *owner)
    path.chmod(mode & 0o7777)


def remove(path: Path) -> None:
    """Delete a directory of the home, or in a layer's directory, and all below it."""
    with Directory.open(path.parent) as parent:
        remove_tree(parent, os.fsencode(path.name))


def _sync_files(path: Path) -> None:
    with Directory.open(path) as directory:
        for name in directory.names():
            if name.kind == FILE:
                with directory.reading(name.name) as fd:
                    os.fsync(fd)
        os.fsync(directory.fd)
