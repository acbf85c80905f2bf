"""Making a layer of the new store from the old one."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from ovl1.driver import overlay2
from ovl1.driver.convert import Conversion, content, naming
from ovl1.layer.build import Built, build
from ovl1.linux.beneath import Directory
from ovl1.store.layout import Layout
from ovl1.store.store import Store

_SUB_ROOT = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Maker:
    """Makes layers of `store` anew in `target`, an overlay2 store; nothing is synced."""

    store: Store
    target: Layout
    keep_directory_times: bool = True
    copies: bool = False
    """Never link to the old store's inodes: it is elsewhere."""
    whiteout: Optional[Path] = None
    """One on the file system of `target`, which all whiteouts are to be names of."""

    def make(self, conversion: Conversion) -> Built:
        """Make one layer.

        Raises:
            BrokenStore, LayerError: it cannot be made; what was made so far stays.
        """
        status = self.store.place(conversion.layer_id).stat()
        overlay2.create_layer(
            self.target,
            conversion.layer_id,
            conversion.lowers,
            mode=status.st_mode & 0o7777,
            owner=(status.st_uid, status.st_gid),
            root_pair=root_pair(self.store.layout),
            has_children=conversion.has_children,
        )
        with naming(conversion), contextlib.ExitStack() as opened:
            shared = None
            if self.whiteout is not None:
                place = opened.enter_context(Directory.open(self.whiteout.parent))
                shared = (place, os.fsencode(self.whiteout.name))
            return build(
                content(self.store, conversion, keep_directory_times=self.keep_directory_times),
                opened.enter_context(Directory.open(self.target.diff(conversion.layer_id))),
                own_copy=self.copies or conversion.own_copy,
                whiteout=shared,
            )


def root_pair(layout: Layout) -> Tuple[int, int]:
    """Owner of what root in a container owns; with user namespaces the data-root is named so."""
    match = _SUB_ROOT.fullmatch(os.path.basename(layout.data_root))
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
