"""When two entries are the same, and where two views differ.

Identity first: the same inode is the same entry, and nothing is read. Otherwise metadata decides
(type, permissions, owner, device, size, modification time to the nanosecond, extended attributes,
link target), and only when all of that agrees the bytes are compared. Not compared: access and
change times, and overlayfs' own bookkeeping attributes, which no mount shows.
"""

from __future__ import annotations

import array
import os
import stat
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

from ovl1.errors import LayerError
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, Directory
from ovl1.numberset import NumberSet
from ovl1.tree.marks import METACOPY, PRIVATE_PREFIX
from ovl1.tree.view import Cursor, Found, Parts, StackView

CAPABILITY = "security.capability"

Shared = Callable[[Directory, Directory, bytes], bool]

_CHUNK = 1 << 18
_SECOND = 1_000_000_000
_DEEP = 200
"""Levels; beyond, Python's own stack would end."""


def visible_xattrs(attributes: xattrs.Xattrs) -> xattrs.Xattrs:
    """The attributes that a mount shows: all but overlayfs' own."""
    return {
        name: value for name, value in attributes.items() if not name.startswith(PRIVATE_PREFIX)
    }


def refuse_metacopy(source: Directory, name: bytes, attributes: xattrs.Xattrs) -> None:
    """Raise `LayerError` if a file with these attributes has its data in a layer not looked at."""
    if METACOPY in attributes and source.lends(name):
        raise LayerError(
            f"{os.fsdecode(name)!r} is a metadata-only copy (metacopy), its data is elsewhere",
            resolution="Touch the file's content once in the running container "
            "(cat f > f.new && mv f.new f), or remove the container.",
        )


def directory_differences(mine: Directory, theirs: Directory) -> List[str]:
    """In which metadata two directories differ; empty if in none."""
    a, b = mine.stat(), theirs.stat()
    found = _status_differences(a, b)
    if visible_xattrs(xattrs.read_fd(mine.fd)) != visible_xattrs(xattrs.read_fd(theirs.fd)):
        found.append("extended attributes")
    return found


def entry_differences(
    mine: Directory, theirs: Directory, name: bytes, *, content: bool = True
) -> List[str]:
    """In what the non-directories `name` of two directories differ; empty if in nothing."""
    a, b = mine.lstat(name), theirs.lstat(name)
    if os.path.samestat(a, b):
        return []
    if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
        return ["type"]
    found = _status_differences(a, b)
    if a.st_rdev != b.st_rdev:
        found.append("device number")
    if visible_xattrs(xattrs.read_at(mine.fd, name)) != visible_xattrs(
        xattrs.read_at(theirs.fd, name)
    ):
        found.append("extended attributes")
    if stat.S_ISLNK(a.st_mode) and mine.readlink(name) != theirs.readlink(name):
        found.append("link target")
    if stat.S_ISREG(a.st_mode):
        if a.st_size != b.st_size:
            found.append("size")
        elif content and not found and not _same_content(mine, theirs, name):
            found.append("content")
    return found


def docker_differs(mine: Directory, theirs: Directory, name: bytes) -> bool:
    """Whether Docker takes the entries `name` of two directories for different.

    Not compared: contents, link targets, attributes but capabilities, and of directories anything
    that has to do with time and size. moby ``pkg/archive/changes_unix.go``, as in Docker 20.10.
    """
    a, b = mine.lstat(name), theirs.lstat(name)
    if os.path.samestat(a, b):
        return False
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev):
        return True
    # The bit of S_IFDIR is part of S_IFSOCK and S_IFBLK, too: Docker looks no further there.
    if not a.st_mode & stat.S_IFDIR and (
        a.st_size != b.st_size or not _same_time_to_docker(a.st_mtime_ns, b.st_mtime_ns)
    ):
        return True
    return _capability(mine, name) != _capability(theirs, name)


def _same_time_to_docker(a: int, b: int) -> bool:
    """A tar, in which Docker ships times, may have cut the fraction of a second off."""
    return a == b or (a // _SECOND == b // _SECOND and (a % _SECOND == 0 or b % _SECOND == 0))


def _capability(directory: Directory, name: bytes) -> Optional[bytes]:
    return xattrs.read_at(directory.fd, name).get(CAPABILITY)


def _status_differences(a: os.stat_result, b: os.stat_result) -> List[str]:
    found = []
    if stat.S_IMODE(a.st_mode) != stat.S_IMODE(b.st_mode):
        found.append("mode")
    if (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid):
        found.append("owner")
    if a.st_mtime_ns != b.st_mtime_ns:
        found.append("modification time")
    return found


def _same_content(mine: Directory, theirs: Directory, name: bytes) -> bool:
    with mine.reading(name) as a, theirs.reading(name) as b:
        while True:
            chunk = os.read(a, _CHUNK)
            if chunk != os.read(b, _CHUNK):
                return False
            if not chunk:
                return True


def same_below(mine: Directory, theirs: Directory, shared: Shared, depth: int = 0) -> bool:
    """Whether two complete trees are the same; told fast, and False for what is very deep.

    Args:
        shared: whether an entry that is the same but for its inode has further names within its
            view, and so is not the same after all.
    """
    if depth == _DEEP or directory_differences(mine, theirs):
        return False
    left, right = set(mine.names()), set(theirs.names())
    kinds = {name: kind for name, _, kind in right - left}
    different = left - right
    if len(kinds) != len(different):
        return False
    for name, _, kind in different:
        if kinds.get(name) != kind:
            return False
        if kind == DIR:
            with mine.child(name) as here, theirs.child(name) as there:
                if not same_below(here, there, shared, depth + 1):
                    return False
        elif entry_differences(mine, theirs, name) or shared(mine, theirs, name):
            return False
    return True


class Difference(NamedTuple):
    """A path at which two views disagree."""

    path: Parts
    what: str


def view_differences(
    old: StackView, new: StackView, *, content: bool = True
) -> Iterator[Difference]:
    """Every path at which `new` shows something else than `old`, hard links included.

    Args:
        content: compare bytes too where the inodes differ; otherwise structure and metadata.
    """
    links = _LinkGroups()
    pending: List[Parts] = [()]
    with Cursor(old) as mine, Cursor(new) as theirs:
        while pending:
            parts = pending.pop()
            here, there = mine.at(parts), theirs.at(parts)
            for what in directory_differences(here.top, there.top):
                yield Difference(parts, what)
            for name in sorted(here.entries.keys() | there.entries.keys()):
                path = (*parts, name)
                found, other = here.entries.get(name), there.entries.get(name)
                outline = _outline_difference(found, other)
                if outline or found is None or other is None:
                    yield Difference(path, outline)
                elif found.kind == DIR:
                    pending.append(path)
                elif found.inode == other.inode:
                    links.add_same(found.inode)
                else:
                    a, b = here.source_of(name, found), there.source_of(name, other)
                    for what in entry_differences(a, b, name, content=content):
                        yield Difference(path, what)
                    links.add(path, found.inode, other.inode)
    yield from links.differences()


def _outline_difference(mine: Optional[Found], theirs: Optional[Found]) -> str:
    if mine is None:
        return "only in the new view"
    if theirs is None:
        return "missing in the new view"
    return "" if mine.kind == theirs.kind else "type"


class _LinkGroups:
    """Whether names that share an inode in one view share one in the other, too.

    Names whose inode is the same in both views can only be at odds with names whose inode is not:
    of the former a number is kept, of the latter the pair.
    """

    def __init__(self) -> None:
        self._same = array.array("Q")
        self._theirs: Dict[int, int] = {}
        self._mine: Dict[int, int] = {}
        self._found: List[Difference] = []

    def add_same(self, inode: int) -> None:
        """Record a name that is this inode in both views."""
        self._same.append(inode)

    def add(self, path: Parts, mine: int, theirs: int) -> None:
        """Record a name that is another inode in the new view."""
        if (
            self._theirs.setdefault(mine, theirs) != theirs
            or self._mine.setdefault(theirs, mine) != mine
        ):
            self._found.append(Difference(path, "hard links"))

    def differences(self) -> Iterator[Difference]:
        """All names at which the groups differ, those with one foot in each inode included."""
        yield from self._found
        # An intersection keeps no more than what both have, however many are the same.
        for inode in sorted((self._theirs.keys() | self._mine.keys()).intersection(self._same)):
            yield Difference((), f"hard links of inode {inode}")


def linked_within(view: StackView) -> NumberSet:
    """The inodes that have more than one name within a view, directories left out."""
    seen, again = NumberSet(), NumberSet()
    for _, here in view.walk():
        for found in here.entries.values():
            if found.kind != DIR and not seen.add(found.inode):
                again.add(found.inode)
    return again
