"""Stores for conversions in place: chains made at random, and there and back for all layers."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from ovl1.driver.convert import Conversion, content, conversions, open_view
from ovl1.driver.views import open_stack
from ovl1.layer.build import build
from ovl1.linux import durable
from ovl1.linux.beneath import Directory
from ovl1.migrate.inplace.convert import convert, replaced_inodes, undo
from ovl1.migrate.inplace.decide import decide
from ovl1.migrate.inplace.digest import Known, view_digest
from ovl1.migrate.inplace.record import read
from ovl1.model import LayerId
from ovl1.store.store import Store
from ovl1.store.trees import READ_WRITE
from ovl1.tree.marks import OPAQUE, is_whiteout
from tests.support.manifest import Entry, manifest

OVERLAY_OWN = "trusted.overlay."


class InPlace:
    """A store, read while it was whole, and what becomes of it."""

    def __init__(self, store: Store, *, keep_directory_times: bool = True) -> None:
        self.layout = store.layout
        self.store = store
        self.area = store.layout.data_root / ".area"
        self.layers = conversions(store)
        self.keep = keep_directory_times
        self.area.mkdir(exist_ok=True)
        self.before = self.manifest()

    def manifest(self) -> Dict[bytes, Entry]:
        return manifest(self.layout.home)

    def decide(self, layer: Conversion, digest: str = "") -> None:
        decide(self.store, layer, self.area, keep_directory_times=self.keep, digest=digest)

    def digests(self) -> Dict[LayerId, str]:
        """What each layer shows, of layers none of which is converted."""
        known: Known = {}
        found = {}
        for layer in self.layers:
            with open_view(self.store, layer.layer_id) as view:
                found[layer.layer_id] = view_digest(view, known=known, directory_times=self.keep)
        return found

    def forward(self, digests: Optional[Dict[LayerId, str]] = None) -> None:
        """Convert all layers, or go on with it; each with its record first."""
        self.layout.links.mkdir(exist_ok=True)
        for layer in reversed(self.layers):
            self.decide(layer, (digests or {}).get(layer.layer_id, ""))
            convert(self.layout, read(self.area / layer.layer_id))

    def back(self) -> None:
        """Undo all layers, or go on with it."""
        for layer in self.layers:
            undo(self.layout, self.area, layer.layer_id)

    def forget(self) -> None:
        """End what `back` has taken back; after that nothing can go on with it."""
        if self.layout.links.exists():
            self.layout.links.rmdir()
        # The records, and what all layers share.
        for path in self.area.iterdir():
            path.unlink()
        times = self.before[b"."]
        os.utime(self.layout.home, ns=(times.mtime_ns, times.mtime_ns))
        # A record that lost power brings back would be taken for that of the next conversion.
        durable.sync_file_system(self.layout.home)

    def shown(self) -> Dict[LayerId, str]:
        """What each layer shows when all are converted."""
        known: Known = {}
        records = {layer.layer_id: read(self.area / layer.layer_id) for layer in self.layers}
        replaced = {layer_id: replaced_inodes(record) for layer_id, record in records.items()}
        found = {}
        for layer in self.layers:
            stack = (layer.layer_id, *layer.lowers)
            with open_stack(layer.layer_id, [self.layout.diff(one) for one in stack]) as view:
                found[layer.layer_id] = view_digest(
                    view,
                    [replaced[one] for one in stack],
                    known=known,
                    directory_times=self.keep,
                )
        return found

    def recorded(self) -> Dict[LayerId, str]:
        return {
            layer.layer_id: read(self.area / layer.layer_id).header.digest for layer in self.layers
        }

    def built(self, place: Path) -> Dict[LayerId, Dict[bytes, object]]:
        """What a conversion beside the old store makes of each layer's `diff`."""
        found = {}
        for layer in self.layers:
            target = place / layer.layer_id
            target.mkdir()
            with Directory.open(target) as directory:
                events = content(self.store, layer, keep_directory_times=self.keep)
                build(events, directory, own_copy=False)
            found[layer.layer_id] = self._outline(layer, target)
            shutil.rmtree(target)
        return found

    def diffs(self) -> Dict[LayerId, Dict[bytes, object]]:
        return {
            layer.layer_id: self._outline(layer, self.layout.diff(layer.layer_id))
            for layer in self.layers
        }

    def _outline(self, layer: Conversion, diff: Path) -> Dict[bytes, object]:
        """What is in a `diff`, but for marks of the kernel that change nothing.

        It makes each directory opaque that takes the place of something else.
        """
        is_upper = self.store.trees[layer.layer_id].kind == READ_WRITE
        return outline(diff, () if is_upper else (OPAQUE,))

    def differences(self) -> List[str]:
        """What is not as it was at first; an undone store has none.

        Inode numbers of files that are not the parent's copies, too. Sizes of directories are what
        the file system needs for their names, and for those that were there once.
        """
        return plain_differences(self.before, self.manifest())


def plain_differences(before: Dict[bytes, Entry], after: Dict[bytes, Entry]) -> List[str]:
    told = [f"{os.fsdecode(name)}: gone" for name in before.keys() - after.keys()]
    told += [f"{os.fsdecode(name)}: new" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        was, now = _plain(before[name]), _plain(after[name])
        told += [
            f"{os.fsdecode(name)}: {field} was {a!r}, is {b!r}"
            for field, a, b in zip(Entry._fields, was, now)
            if a != b
        ]
    return sorted(told)


def _plain(found: Entry) -> Entry:
    plain = found._replace(inode=0)
    if stat.S_ISCHR(found.mode) and not found.device:
        # The kernel has a name for its whiteouts in the work directory, too.
        return plain._replace(nlink=0)
    return plain._replace(size=0) if stat.S_ISDIR(found.mode) else plain


def outline(top: Path, private: Sequence[str]) -> Dict[bytes, object]:
    """What is in a `diff`; of overlayfs' notes to itself only those in `private`."""
    found: Dict[bytes, object] = {}
    for name, seen in manifest(top).items():
        path = os.path.join(os.fsencode(top), name)
        if is_whiteout(os.lstat(path)):
            found[name] = "whiteout"
            continue
        attributes = [
            (key, value)
            for key, value in seen.xattrs
            if key in private or not key.startswith(OVERLAY_OWN)
        ]
        size = 0 if stat.S_ISDIR(seen.mode) else seen.size
        inode = seen.inode if stat.S_ISREG(seen.mode) else 0
        found[name] = (seen.mode, seen.uid, seen.gid, size, seen.mtime_ns, attributes)
        found[name + b"/"] = (seen.target, seen.sha256, seen.device, inode)
    return found


def there_and_back(store: InPlace, scratch: Optional[Path] = None) -> None:
    """All layers are converted and undone, and each is what it must be at every time.

    Args:
        scratch: a new directory on the same file system, where the layers are made as a conversion
            beside the old store does, to be compared.
    """
    digests = store.digests()
    built = {}
    if scratch:
        scratch.mkdir()
        built = store.built(scratch)
    store.forward(digests)
    assert store.shown() == digests == store.recorded()
    assert not scratch or store.diffs() == built
    store.back()
    store.forget()
    assert store.differences() == []
