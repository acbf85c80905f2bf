"""What an overlay mount of some layers shows, in the words of the catalogue."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import Dict, Sequence, Set

from ovl1.linux import mounts
from ovl1.linux.beneath import DIR
from ovl1.tree.marks import PRIVATE_PREFIX
from ovl1.tree.view import StackView
from tests.support.hostile_case import Tree, node_at, tree


def shown(view: StackView) -> Tree:
    """The tree that `view` shows; see `tests.support.hostile_case.tree`.

    All its layers lie in one file system.
    """
    found: Tree = {}
    groups: Dict[int, Set[bytes]] = {}
    for parts, here in view.walk():
        path = b"/".join(parts)
        found[path] = node_at(here.top.fd, b".")
        for name, entry in here.entries.items():
            if entry.kind != DIR:
                below = b"/".join((*parts, name))
                found[below] = node_at(here.layer_of(entry).fd, name)
                groups.setdefault(found[below].inode, set()).add(below)
    for names in groups.values():
        for name in names if len(names) > 1 else ():
            found[name] = found[name]._replace(group=frozenset(names))
    for path, node in found.items():
        if stat.S_ISDIR(node.kind):
            xattrs = tuple(pair for pair in node.xattrs if not pair[0].startswith(PRIVATE_PREFIX))
            found[path] = node._replace(xattrs=xattrs)
    return found


def mounted(layers: Sequence[Path], place: Path) -> Tree:
    """What the kernel shows of `layers`, topmost first, mounted below `place`."""
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        empty, target = Path(scratch, "empty"), Path(scratch, "target")
        empty.mkdir()
        target.mkdir()
        # A mount without an upper directory needs two others.
        mounts.mount(mounts.overlay([*layers, empty]), target)
        try:
            return tree(target)
        finally:
            mounts.umount(target)
