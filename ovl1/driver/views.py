"""Opening the directories of a layer as one merged view."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Sequence

from ovl1.errors import BrokenStore, LayerError
from ovl1.linux.beneath import Directory
from ovl1.model import LayerId
from ovl1.tree.view import StackView


def open_stack(layer_id: LayerId, paths: Sequence[Path]) -> StackView:
    """The view of the directories at `paths`, topmost first, which make up the layer.

    Raises:
        BrokenStore: one of them is missing.
    """
    layers: List[Directory] = []
    try:
        layers.extend(Directory.open(path) for path in paths)
    except OSError as err:
        for layer in layers:
            layer.close()
        raise BrokenStore(
            f"layer {layer_id.short} is not whole: {err.strerror}", details=str(err.filename)
        ) from err
    return StackView(layers)


def check_unmoved(layer_id: LayerId, paths: Sequence[Path], view: StackView) -> None:
    """Make sure that what was read through `view` was the layer, from the first byte to the last.

    Layers are renamed before they are deleted, so a name that leads to the same directory is proof.

    Raises:
        LayerError: it was removed meanwhile, or replaced.
    """
    for path, directory in zip(paths, view.layers):
        try:
            same = os.path.samestat(os.lstat(path), directory.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise LayerError(f"layer {layer_id.short} was removed while it was read")
