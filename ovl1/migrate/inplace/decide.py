"""Deciding what becomes of a layer, and writing it down.

What stays comes from `ovl1.driver.convert.content`, as for a layer that is made beside the old
one. What goes is compared with the parent's, name by name: it must be there, the same, or be
described in the record. So a record never lets anything go that cannot come back.

Limits: where a container shows something of its image that its init layer does not (a whiteout
got lost), the layer would need an entry that it has not; and what ``redirect_dir``, ``metacopy``
or ``index=on`` have left in an upper directory is refused, to be resolved before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, Iterator, List, Optional, Set, Tuple

from ovl1.closing import Closing
from ovl1.driver.convert import Conversion, content, naming, open_view
from ovl1.errors import BrokenStore, LayerError
from ovl1.layer import delta
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory
from ovl1.linux.trail import Trail
from ovl1.migrate.inplace import items, record
from ovl1.migrate.inplace.gone import ELSEWHERE, Going, refuse_unresolved
from ovl1.migrate.inplace.items import Header, Item
from ovl1.migrate.inplace.parent import Parent
from ovl1.migrate.inplace.places import private_xattrs, refuse_frozen
from ovl1.migrate.inplace.record import Record
from ovl1.model import LayerId
from ovl1.store import layout as names
from ovl1.store.store import Store
from ovl1.store.trees import IMAGE, READ_WRITE

_INDEX = "index"


def decide(
    store: Store,
    conversion: Conversion,
    area: Path,
    *,
    keep_directory_times: bool = True,
    digest: str = "",
) -> Record:
    """Write the record of a layer to ``<area>/<layer id>``; nothing of the layer is changed.

    A record that is there is what holds: it is read, and nothing is decided anew.

    Args:
        area: a directory of ours on the file system of the store.
        keep_directory_times: as for `content`.
        digest: of the layer's view; see `ovl1.migrate.inplace.digest`.

    Raises:
        LayerError: the layer cannot be converted in place; says why.
        BrokenStore: it is not whole, or its record is damaged.
        OSError: no space for the record; nothing is left of it.
    """
    path = area / conversion.layer_id
    if not path.exists():
        with naming(conversion):
            header = _header(store, conversion, digest)
            todo = _items(store, conversion, header, keep_directory_times=keep_directory_times)
            record.write(path, header, todo)
    return record.read(path)


def _header(store: Store, conversion: Conversion, digest: str) -> Header:
    layout, layer_id = store.layout, conversion.layer_id
    place = layout.layer(layer_id)
    tree, below = _tree(store, layer_id), conversion.parent
    stack: List[Tuple[LayerId, str]] = []
    if below is not None:
        stack.append((below, _tree(store, below)))
        lower = store.trees[below].lower
        if lower is not None:
            stack.append((lower, names.ROOT))
    if (tree == names.ROOT and len(stack) > 1) or (tree == names.UPPER and not stack):
        raise LayerError(f"a layer with {tree} cannot stand on {stack or 'nothing'}")
    _check_work(layout.work(layer_id))
    status = place.stat()
    return Header(
        layer_id=layer_id,
        tree=tree,
        below=tuple(stack),
        lowers=conversion.lowers,
        has_children=conversion.has_children,
        had_work=os.path.lexists(layout.work(layer_id)),
        times_ns=(status.st_atime_ns, status.st_mtime_ns),
        digest=digest,
    )


def _tree(store: Store, layer_id: LayerId) -> str:
    tree = store.trees.get(layer_id)
    found = {IMAGE: names.ROOT, READ_WRITE: names.UPPER}.get(tree.kind if tree else "")
    if found is None:
        raise BrokenStore(
            f"layer {layer_id.short} has neither {names.ROOT} nor {names.UPPER}",
            details=str(store.layout.layer(layer_id)),
        )
    return found


def _check_work(work: Path) -> None:
    """With ``index=on`` the kernel shows hard links through what it keeps there."""
    index = work / _INDEX
    if index.is_dir() and os.listdir(index):
        raise LayerError(
            f"{work} has an index of hard links: the layer was mounted with index=on",
            resolution="Migrate side by side, or remove the container.",
        )


def _items(
    store: Store, conversion: Conversion, header: Header, *, keep_directory_times: bool
) -> Iterator[Item]:
    path = store.layout.layer(header.layer_id) / header.tree
    with Directory.open(path) as tree:
        refuse_frozen(tree, b"")
        if conversion.parent is None:
            return  # It is renamed, and that is all.
        events = content(store, conversion, keep_directory_times=keep_directory_times)
        with open_view(store, conversion.parent) as view:
            parent = Parent(view, is_tree=header.is_complete)
            with parent, _Decision(tree, parent, is_complete=header.is_complete) as decision:
                yield from decision.items(events)


class _Frame:
    """A directory that stays."""

    def __init__(self, *, merges: bool) -> None:
        self.merges = merges
        self.mentioned: Set[bytes] = set()


class _Decision(Closing):
    def __init__(self, tree: Directory, parent: Parent, *, is_complete: bool) -> None:
        self._trail = Trail(tree)
        self._parent = parent
        self._is_complete = is_complete
        self._frames: List[_Frame] = []
        self._going = Going(self._trail, parent, is_complete=is_complete)

    def close(self) -> None:
        self._trail.close()

    def items(self, events: Iterable[delta.Event]) -> Iterator[Item]:
        for event in events:
            if isinstance(event, delta.Enter):
                yield self._enter(event)
            elif isinstance(event, delta.Leave):
                frame = self._frames[-1]
                self._here()
                yield from self._going.out_of(frame.mentioned, merges=frame.merges)
                yield items.Leave()
                self._frames.pop()
            elif isinstance(event, delta.Entry):
                yield self._entry(event)
            elif isinstance(event, delta.Whiteout):
                self._frames[-1].mentioned.add(event.name)
                # A whiteout that is there already does as it is.
                there = self._here().exists(event.name)
                yield items.Keep(event.name) if there else items.Whiteout(event.name)

    def _here(self) -> Directory:
        return self._trail.at(len(self._frames) - 1)

    def _enter(self, event: delta.Enter) -> Item:
        above: Optional[_Frame] = None
        if self._frames:
            above = self._frames[-1]
            above.mentioned.add(event.name)
            try:
                here = self._trail.enter(len(self._frames) - 1, event.name)
            except OSError as err:
                raise LayerError(ELSEWHERE, details=f"{event.name!r}: {err.strerror}") from err
        else:
            here = self._trail.at(0)
        status, attributes = here.stat(), xattrs.read_fd(here.fd)
        if not os.path.samestat(status, event.source.stat()):
            raise LayerError(ELSEWHERE, details=repr(event.name))
        if not self._is_complete:
            refuse_unresolved(attributes, event.name)
        refuse_frozen(here, event.name)
        merges = above is None or (
            above.merges and not event.opaque and self._parent.at(self._trail.parts) is not None
        )
        self._frames.append(_Frame(merges=merges))
        times = (status.st_atime_ns, status.st_mtime_ns)
        return items.Enter(event.name, event.opaque, merges, private_xattrs(attributes), times)

    def _entry(self, event: delta.Entry) -> Item:
        if event.found.depth:
            raise LayerError(ELSEWHERE, details=repr(event.name))
        if not self._is_complete:
            refuse_unresolved(xattrs.read_at(event.source.fd, event.name), event.name)
        self._frames[-1].mentioned.add(event.name)
        return items.Keep(event.name)
