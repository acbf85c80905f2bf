"""Hard links from one layer to another, where every layer is a copy.

Side by side and in place they are there by themselves: all names keep their inode. A copy of a
layer has only the layer's own names of it; here they are given to the inode in the layer below, so
that what is mounted shows one file again.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Optional

from ovl1.driver.convert import IMAGE, Conversion
from ovl1.errors import LayerError
from ovl1.formats import tarsplit
from ovl1.formats.tarheader import TarEntry
from ovl1.layer.older_links import older_links
from ovl1.linux import durable
from ovl1.linux.beneath import Directory
from ovl1.migrate.area import Area
from ovl1.migrate.source import Source
from ovl1.migrate.steps import Result
from ovl1.model import LayerId
from ovl1.tree.view import Parts

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NEW_NAME = b".linked"


@dataclass(frozen=True)
class LinkAcross:
    """All of them, parents first; each name is there at any time."""

    source: Source

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"link names in {self.area.staged.home} to files of layers below"

    @property
    def area(self) -> Area:
        """Where the layers are."""
        return self.source.area

    def do(self) -> Result:
        """See `Step`."""
        linked = 0
        for conversion in self.source.conversions:
            for path, target in _links_of(conversion).items():
                linked += self._link(conversion, path, target)
        durable.sync_file_system(self.area.staged.home)
        return {"linked across": linked}

    def undo(self) -> None:
        """See `Step`; goes with the home of the new store."""

    def _link(self, conversion: Conversion, path: Parts, target: Parts) -> bool:
        """Give one name away, if the old store shows one file under both."""
        new = self.area.staged
        with ExitStack() as opened:
            old = _find(self._old(conversion.layer_id), path, opened)
            before = _find(self._old(conversion.lowers[0]), target, opened)
            here = _find(new.diff(conversion.layer_id), path, opened)
            places = (_find(new.diff(lower), target, opened) for lower in conversion.lowers)
            there = next(filter(None, places), None)
            if old is None or before is None or here is None or there is None:
                return False
            if old.lstat(path[-1]).st_ino != before.lstat(target[-1]).st_ino:
                return False
            with Directory.open(new.home) as home:
                _give(there, target[-1], home, here, path[-1])
            times = old.stat()
            os.utime(here.fd, ns=(times.st_atime_ns, times.st_mtime_ns))
        return True

    def _old(self, layer_id: LayerId) -> Path:
        store = self.source.store
        return store.trees[layer_id].paths(store.layout)[0]


def _links_of(conversion: Conversion) -> Dict[Parts, Parts]:
    if conversion.kind != IMAGE or conversion.tar_split is None or not conversion.lowers:
        return {}
    try:
        with open(conversion.tar_split, "rb") as file:

            def headers() -> Iterator[TarEntry]:
                file.seek(0)
                return tarsplit.headers(tarsplit.read(file))

            return older_links(headers)
    except LayerError:
        return {}  # Of a damaged record nothing is believed; the trees alone say what there is.


def _find(root: Path, path: Parts, opened: ExitStack) -> Optional[Directory]:
    """The directory in which `path` lies, if it is there; no link is followed."""
    try:
        with Directory.open(root) as top:
            directory = opened.enter_context(top.descend(path[:-1]))
        directory.lstat(path[-1])
    except OSError as err:
        if err.errno in _NOT_THERE:
            return None
        raise
    return directory


def _give(there: Directory, target: bytes, home: Directory, here: Directory, name: bytes) -> None:
    """Let `name` be one of the target's inode; rename(2) alone does nothing if it is already."""
    if here.lstat(name).st_ino == there.lstat(target).st_ino:
        return
    if home.exists(_NEW_NAME):
        home.unlink(_NEW_NAME)
    home.link_from(there, target, _NEW_NAME)
    os.rename(_NEW_NAME, name, src_dir_fd=home.fd, dst_dir_fd=here.fd)
