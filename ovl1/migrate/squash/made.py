"""The tar of a layer that takes the place of others: hashed, and kept as tar-split.

It lists the whole tree that the old store shows at the cut, in the order of a walk. Limit: with
user namespaces, owners are mapped as if the first range of ``/etc/subuid`` were the only one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict

from ovl1.driver.convert import open_view
from ovl1.formats import tarsplit
from ovl1.formats.tarstream import as_file
from ovl1.layer.diff import diff
from ovl1.migrate.make import root_pair
from ovl1.migrate.squash.renewed import Made
from ovl1.model import ChainId, DiffId, IdMaps, IdRange
from ovl1.store import layout as names
from ovl1.store.folder import Folder
from ovl1.store.layerdb import LayerRecord
from ovl1.store.layout import Layout
from ovl1.store.store import Store

_IDS = 1 << 32


def make(store: Store, record: LayerRecord, place: Path) -> None:
    """Make what the layer store keeps of the layer, all but its cache-id; not durable.

    Args:
        record: the old layer whose tree is to be a layer by itself.
        place: the directory to be made.

    Raises:
        BrokenStore, LayerError: the tree cannot be read, or has no form as a tar.
    """
    place.mkdir(0o700)
    digest = hashlib.sha256()
    maps = _id_maps(store.layout)
    with open_view(store, record.cache_id) as view, (place / names.TAR_SPLIT).open("xb") as split:
        for chunk in tarsplit.split(as_file(diff(view, None, id_maps=maps)), split):
            digest.update(chunk)
    with (place / names.TAR_SPLIT).open("rb") as split:
        entries = tarsplit.read(split)
        size = sum(entry.size for entry in entries if isinstance(entry, tarsplit.FileEntry))
    (place / names.SIZE).write_text(str(size))
    (place / names.DIFF_ID).write_text(f"sha256:{digest.hexdigest()}")


def known(data_root: Path, home: Path) -> Dict[ChainId, Made]:
    """What `make` has made below `home`, by the chain ids of the old layers."""
    found: Dict[ChainId, Made] = {}
    if home.is_dir():
        for place in sorted(home.iterdir()):
            with Folder.open(data_root, place) as folder:
                found[ChainId.parse(f"sha256:{place.name}")] = Made(
                    DiffId.parse(folder.text(names.DIFF_ID), str(place)),
                    int(folder.text(names.SIZE)),
                    place / names.TAR_SPLIT,
                )
    return found


def _id_maps(layout: Layout) -> IdMaps:
    uid, gid = root_pair(layout)
    if (uid, gid) == (0, 0):
        return IdMaps()
    return IdMaps((IdRange(0, uid, _IDS - uid),), (IdRange(0, gid, _IDS - gid),))
