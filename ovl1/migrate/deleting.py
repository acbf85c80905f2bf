"""Deleting a whole store, which takes long, and telling how far it has come."""

from __future__ import annotations

import os

from ovl1.model import Progress
from ovl1.store.layout import Layout
from ovl1.tree.remove import remove_path


def delete_layers(layout: Layout, phase: str, progress: Progress) -> int:
    """Delete a driver's home, layer by layer; durable once the file system is synced. Idempotent.

    Returns:
        How many names were deleted.
    """
    names = sorted(os.listdir(layout.home)) if layout.home.is_dir() else []
    removed = 0
    for number, name in enumerate(names):
        progress(phase, number, len(names))
        removed += remove_path(layout.home / name)
    removed += remove_path(layout.home)
    progress(phase, len(names), len(names))
    return removed
