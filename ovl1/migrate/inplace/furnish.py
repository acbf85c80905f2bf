"""What overlay2 has beside the content of a layer: made in the layer's own directory, and removed.

As `ovl1.driver.overlay2.create_layer` does it, but in a directory that is there, idempotent, and
with one inode for all empty marks. Not durable until the file system is synced.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Tuple

from ovl1.driver.aside import remove
from ovl1.driver.overlay2 import short_name
from ovl1.linux.beneath import Directory
from ovl1.linux.durable import create_file
from ovl1.migrate.inplace.items import Header
from ovl1.migrate.inplace.places import link_shared
from ovl1.store import layout as names
from ovl1.store.layout import Layout

_COMMITTED = b"committed"


def furnish(layout: Layout, header: Header, area: Path, root_pair: Tuple[int, int]) -> None:
    """Make ``link``, ``lower``, ``work``, ``committed`` and the link in ``l/``, which must exist.

    Args:
        layout: of the home in which the layer's directory is now.
        root_pair: user and group id that root of a container has on the host.
    """
    layer_id = header.layer_id
    short = short_name(layer_id)
    _ensure_file(layout.link(layer_id), short.encode())
    link = layout.links / short
    if not os.path.lexists(link):
        os.symlink(f"../{layer_id}/{names.DIFF}", link)
    if header.lowers:
        lowers = [f"{names.LINKS}/{short_name(lower)}" for lower in header.lowers]
        _ensure_file(layout.lower(layer_id), ":".join(lowers).encode())
        if not header.had_work:
            _ensure_directory(layout.work(layer_id), root_pair)
    if header.has_children:
        with Directory.open(area) as shared, Directory.open(layout.layer(layer_id)) as place:
            link_shared(shared, _COMMITTED, place, names.COMMITTED.encode(), _make_empty)


def unfurnish(layout: Layout, header: Header) -> None:
    """Remove what `furnish` has made; gone already is fine."""
    layer_id = header.layer_id
    link = layout.links / short_name(layer_id)
    made = (layout.link(layer_id), layout.lower(layer_id), layout.committed(layer_id), link)
    for path in made:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    if header.lowers and not header.had_work:
        remove(layout.work(layer_id))


def _ensure_directory(path: Path, owner: Tuple[int, int]) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
    os.chown(path, *owner)
    path.chmod(0o700)


def _ensure_file(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
        path.unlink()  # A crash has torn it.
    create_file(path, content, mode=0o644)


def _make_empty(directory: Directory, name: bytes) -> None:
    os.close(directory.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
