"""The words in which the catalogue of odd and hostile layers is written.

A case is a value: a layer's tar, the tars below it, and what must come of it. Paths are bytes,
relative to the layer's root, without a slash at the end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple, Union

from tests.support import hostile_tar as t

NOW = None
"""A modification time that nobody asked for: whatever the clock said."""


class Node(NamedTuple):
    """One entry of a tree."""

    kind: int
    """The type bits of its mode."""
    mode: int
    owner: Tuple[int, int] = (0, 0)
    mtime_ns: Optional[int] = t.TIME * 10**9
    data: bytes = b""
    """Content of a file, target of a symbolic link."""
    device: int = 0
    xattrs: Tuple[Tuple[str, bytes], ...] = ()
    group: FrozenSet[bytes] = frozenset()
    """All names of its inode in this tree, if it has several."""
    inode: int = 0
    """Where it matters; 0 in expectations."""


Tree = Dict[bytes, Node]


class Refused(NamedTuple):
    """It must be refused with a `LayerError` that says this."""

    text: str


class Shows(NamedTuple):
    """It must be applied, and then show the tree below it but for these changes.

    None stands for what is gone, with everything below it. The times of the directories above a
    change are left to chance, and so is everything about the root, if they are not listed (the
    root as an empty path).
    """

    changes: Mapping[bytes, Optional[Node]]


class Case(NamedTuple):
    name: str
    tar: Union[bytes, Callable[[], bytes]]
    expected: Union[Refused, Shows]
    parent: Tuple[bytes, ...] = ()
    """The layers below, lowest first; each of them is harmless."""
    diff: Union[Refused, Shows, None] = None
    """As an overlay directory, where that is something else than as a complete tree."""
    limit: Optional[int] = None
    """At most so many bytes may be written, instead of what is the default."""

    def made(self) -> bytes:
        """The tar."""
        return self.tar if isinstance(self.tar, bytes) else self.tar()


def file(data: bytes = b"", mode: int = 0o644, **more: Any) -> Node:
    return Node(stat.S_IFREG, mode, data=data)._replace(**more)


def folder(mode: int = 0o755, **more: Any) -> Node:
    return Node(stat.S_IFDIR, mode)._replace(**more)


IMPLIED = folder(mtime_ns=NOW)
"""A directory that no header lists. Docker makes it 0600, or with overlay2, 0777 and 0755."""


GHOST = Node(0, 0, mtime_ns=0)
"""What overlayfs lists and does not find: a whiteout where no directory lies below."""


def link(target: bytes, **more: Any) -> Node:
    return Node(stat.S_IFLNK, 0o777, data=target)._replace(**more)


def special(kind: int, mode: int = 0o644, device: Tuple[int, int] = (0, 0)) -> Node:
    return Node(kind, mode, device=os.makedev(*device))


def linked(node: Node, *names: bytes) -> Dict[bytes, Optional[Node]]:
    """The same inode under several names."""
    return {name: node._replace(group=frozenset(names)) for name in names}


def tree(root: Path) -> Tree:
    """The tree below `root`, and the root itself as an empty path; no link is followed.

    Paths may be as long as the kernel's limit even though `root` comes on top.
    """
    found: Tree = {}
    groups: Dict[int, set[bytes]] = {}
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        pending = [b""]
        while pending:
            path = pending.pop()
            fd = os.open(path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                found[path] = node_at(fd, b".")
                for name in os.listdir(b"/proc/self/fd/%d" % fd):
                    below = os.path.join(path, name)
                    found[below] = node_at(fd, name)
                    if found[below].kind == stat.S_IFDIR:
                        pending.append(below)
                    else:
                        groups.setdefault(found[below].inode, set()).add(below)
            finally:
                os.close(fd)
    finally:
        os.close(top)
    for names in groups.values():
        if len(names) > 1:
            for name in names:
                found[name] = found[name]._replace(group=frozenset(names))
    return found


def node_at(directory: int, name: bytes) -> Node:
    """The entry `name` of an open directory; no link is followed."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return GHOST
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    data = b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as content:
            data = content.read()
    elif stat.S_ISLNK(status.st_mode):
        data = os.readlink(path)
    keys = sorted(os.listxattr(path, follow_symlinks=False))
    return Node(
        kind=stat.S_IFMT(status.st_mode),
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        mtime_ns=status.st_mtime_ns,
        data=data,
        device=status.st_rdev,
        xattrs=tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in keys),
        inode=status.st_ino,
    )


def expected(below: Tree, shows: Shows) -> Tree:
    """The whole tree that must be there, without inode numbers except where they must be kept.

    Args:
        below: the tree of the parent, or only a root.
        shows: what the case says.
    """
    changes = shows.changes
    wanted = {path: node for path, node in below.items() if not _is_changed(path, changes)}
    wanted.update({path: node for path, node in changes.items() if node is not None})
    touched = {b""}
    for path in changes:
        while path not in touched:
            path = _parent(path)
            touched.add(path)
    for path, node in wanted.items():
        group = frozenset(name for name in node.group if name in wanted)
        if path not in changes:
            group -= changes.keys()
        wanted[path] = node._replace(
            group=group if len(group) > 1 else frozenset(),
            inode=0 if node.kind == stat.S_IFDIR else node.inode,
            mtime_ns=NOW if path in touched and path not in changes else node.mtime_ns,
        )
    return wanted


def _is_changed(path: bytes, changes: Mapping[bytes, Optional[Node]]) -> bool:
    """Whether a case lists the path, or takes away something above it."""
    if path in changes:
        return True
    while path:
        path = _parent(path)
        if path in changes and not _is_folder(changes[path]):
            return True
    return False


def _is_folder(node: Optional[Node]) -> bool:
    return node is not None and node.kind == stat.S_IFDIR


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def ungrouped(wanted: Tree, found: Tree) -> Tree:
    """`wanted`, but hard links to files of a lower layer may be fewer: only those in the tar."""
    return {
        path: node._replace(group=found[path].group)
        if path in found and found[path].group <= node.group
        else node
        for path, node in wanted.items()
    }


def without_inodes(found: Tree) -> Tree:
    return {path: node._replace(inode=0) for path, node in found.items()}


def differences(wanted: Tree, found: Tree) -> Dict[bytes, str]:
    """What is not as wanted, in words, by path."""
    told = {}
    for path in sorted(wanted.keys() | found.keys()):
        want, is_there = wanted.get(path), found.get(path)
        if want is None or is_there is None:
            told[path] = f"is {is_there}, expected {want}"
            continue
        fields = [
            f"{field} is {is_!r}, expected {should!r}"
            for field, should, is_ in zip(Node._fields, want, is_there)
            if should != is_
            and not (field == "mtime_ns" and should is NOW)
            and not (field == "inode" and not should)
        ]
        if fields:
            told[path] = "; ".join(fields)
    return told
