"""A layer of a store as the tar that it came from, checked while it is read.

Nothing is mounted: the files are read from the layer's view, whatever it is made of (a complete
``root``, changes over one, or an overlay2 stack). A layer without tar-split has no tar.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Iterator, List, Sequence

from ovl1.errors import BrokenStore, LayerError
from ovl1.formats import tarsplit
from ovl1.layer.export import Contents, TreeContents, ViewContents, length, reassemble
from ovl1.linux.beneath import Directory
from ovl1.store.folder import Folder
from ovl1.store.layerdb import LayerRecord
from ovl1.store.layout import TAR_SPLIT, Layout
from ovl1.store.store import Store
from ovl1.store.trees import LEFTOVER
from ovl1.tree.view import Cursor, StackView


def size(store: Store, record: LayerRecord) -> int:
    """Bytes of the layer's tar, by its tar-split.

    Raises:
        BrokenStore, LayerError: there is none, or it is damaged.
    """
    with tar_split(store.layout, record) as stream:
        return length(tarsplit.read(stream))


def chunks(store: Store, record: LayerRecord) -> Iterator[bytes]:
    """The layer's tar, in chunks of at most 1 MiB.

    Raises:
        BrokenStore: the layer's tree or its tar-split is missing.
        LayerError: a file is not what it was, or the whole does not hash to the layer's diff id:
            what has been yielded by then is worth nothing.
    """
    digest = hashlib.sha256()
    with contents(store.layout, paths(store, record)) as files, tar_split(
        store.layout, record
    ) as stream:
        for chunk in reassemble(tarsplit.read(stream), files):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != record.diff_id.hex:
        raise LayerError(
            f"the tar of layer {record.chain_id.short} is sha256:{digest.hexdigest()}, "
            f"not {record.diff_id}"
        )


def paths(store: Store, record: LayerRecord) -> List[Path]:
    """The directories of the layer's view, topmost first.

    Raises:
        BrokenStore: its tree is missing, or is none.
    """
    tree = store.trees.get(record.cache_id)
    if tree is None:
        raise BrokenStore(
            f"its tree {record.cache_id.short} is missing",
            details=str(store.layout.layer(record.cache_id)),
        )
    if tree.kind == LEFTOVER:
        raise BrokenStore(
            f"its tree {record.cache_id.short} is not whole: {tree.reason}",
            details=str(store.layout.layer(record.cache_id)),
        )
    return tree.paths(store.layout)


@contextlib.contextmanager
def contents(layout: Layout, directories: Sequence[Path]) -> Iterator[Contents]:
    """The files of a layer's view.

    Args:
        directories: what the view is made of, topmost first.

    Raises:
        BrokenStore: one of the directories is missing or is no directory.
    """
    opened: List[Directory] = []
    with contextlib.ExitStack() as closing:
        for path in directories:
            folder = closing.enter_context(Folder.open(layout.data_root, path))
            opened.append(folder.directory)
        if len(opened) == 1:
            yield closing.enter_context(TreeContents(opened[0]))
        else:
            yield ViewContents(closing.enter_context(Cursor(StackView(opened))))


@contextlib.contextmanager
def tar_split(layout: Layout, record: LayerRecord) -> Iterator[BinaryIO]:
    """The layer's open ``tar-split.json.gz``.

    Raises:
        BrokenStore: it has none.
    """
    if record.tar_split is None:
        raise BrokenStore(
            "it has no tar-split, so its tar is not known",
            details=str(layout.tar_split(record.chain_id)),
        )
    where = layout.record(record.chain_id)
    with Folder.open(layout.data_root, where) as folder, folder.directory.reading(
        os.fsencode(TAR_SPLIT)
    ) as fd, open(fd, "rb", closefd=False) as stream:
        yield stream
