"""What a container changed, as a tree in memory, and put over its image's tree.

Read from ``upper`` (overlay) or ``diff`` (overlay2) as it lies on the disk: whiteouts and opaque
directories are what they mean there.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from ovl1.inodes.layouts import RootModel
from ovl1.inodes.nodes import WHITEOUT, Dir, Inode, Node, Tally, is_hidden
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, SPECIAL, Directory, Name
from ovl1.linux.trail import Trail
from ovl1.tree.marks import OPAQUE, is_whiteout


def read_upper(top: Directory, layer: int) -> Tuple[Dir, Tally]:
    """The directory as `layer`, and what is in it; the directory itself is not counted.

    Raises:
        OSError: it cannot be read.
    """
    root, tally = Dir(layer), Tally(layer)
    inodes: Dict[int, Inode] = {}
    pending: List[Tuple[int, bytes, Dir]] = []

    def fill(here: Directory, depth: int, made: Dir) -> None:
        made.opaque = xattrs.read_fd(here.fd).get(OPAQUE) == b"y"
        for entry in here.names():
            node = _node(here, entry, layer, inodes)
            made.entries[entry.name] = node
            tally.add(node)
            if isinstance(node, Dir):
                pending.append((depth, entry.name, node))

    with Trail(top) as trail:
        fill(top, 0, root)
        while pending:
            depth, name, node = pending.pop()
            fill(trail.enter(depth, name), depth + 1, node)
    return root, tally


def _node(here: Directory, entry: Name, layer: int, inodes: Dict[int, Inode]) -> Node:
    if entry.kind == DIR:
        return Dir(layer)
    kind = entry.kind
    if kind == SPECIAL and is_whiteout(here.lstat(entry.name)):
        # The kernel makes one inode of many; who copies them makes each its own.
        return Inode(WHITEOUT, layer)
    return inodes.setdefault(entry.inode, Inode(kind, layer))


def put_over(model: RootModel, upper: Dir) -> None:
    """Change a complete tree as a mount with `upper` over it shows it; `upper` stays as it is."""
    copies: Dict[Inode, Inode] = {}
    pending = [(model.root, upper)]
    while pending:
        here, above = pending.pop()
        for name, node in above.entries.items():
            found = here.entries.get(name)
            if not isinstance(node, Dir):
                model.drop(here, name)
                if not is_hidden(node):
                    model.place(here, name, copies.setdefault(node, Inode(node.kind, model.layer)))
                continue
            if not isinstance(found, Dir) or node.opaque:
                model.drop(here, name)
                found = Dir(model.layer)
                model.place(here, name, found)
            below = found.version(model.layer)
            here.entries[name] = below
            pending.append((below, node))
