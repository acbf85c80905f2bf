"""What differs between a layer and its parent, found at the cost of what differs.

Two views are compared from the root down. Where both end in the same lower directories, only names
that the directories above those mention can differ; the lower directories are asked for these
single names and never listed. Where nothing is shared (two v1 image layers, a directory that was
replaced), the same inode is the same entry. Docker compares two mounted trees instead
(moby ``pkg/archive/changes_linux.go``), and by less: see `ovl1.tree.compare.docker_differs`.

Limits: the root itself is never listed, as Docker does not: its metadata are the driver's. That a
name is a hard link of another is noticed only among names whose inode is not the parent's.
"""

from __future__ import annotations

import os
import stat
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from ovl1.linux.beneath import DIR, SPECIAL
from ovl1.model import Change, ChangeKind
from ovl1.tree.compare import directory_differences, docker_differs, entry_differences
from ovl1.tree.view import Cursor, Found, MergedDir, Parts, StackView


def changes(new: StackView, old: Optional[StackView], *, docker: bool = False) -> Iterator[Change]:
    """What `new` shows otherwise than `old`, sorted bytewise by path, so parents come first.

    A directory in which something changed is listed as modified; of a deleted directory only the
    name is listed, of an added one all that is in it.

    Args:
        old: None if there is no parent, and all has been added.
        docker: give what ``docker diff`` gives, which overlooks some changes.

    Raises:
        LayerError: a directory was renamed in place (`ovl1.tree.view`).
    """
    found = _Comparison(docker=docker).run(new, old)
    return (Change(path, found[path]) for path in sorted(found))


def changes_size(new: StackView, old: Optional[StackView], *, docker: bool = False) -> int:
    """Bytes of the files that were added or modified, each inode once; arguments as `changes`."""
    total = 0
    seen: Set[Tuple[int, int]] = set()
    with Cursor(new) as cursor:
        for change in changes(new, old, docker=docker):
            if change.kind == ChangeKind.DELETED:
                continue
            *above, name = change.path[1:].split(b"/")
            status = entry_status(cursor.at(above), name)
            identity = (status.st_dev, status.st_ino)
            if not stat.S_ISDIR(status.st_mode) and identity not in seen:
                total += status.st_size
                seen.add(identity)
    return total


def entry_status(here: MergedDir, name: bytes) -> os.stat_result:
    """Metadata of an entry that the view shows.

    Raises:
        FileNotFoundError: it has gone meanwhile.
    """
    found = here.find(name)
    return (here.top if found is None else here.layer_of(found)).lstat(name)


class _Pending(NamedTuple):
    """A directory to compare, and in which of the views it is one."""

    path: Parts
    in_new: bool
    in_old: bool


class _Linked(NamedTuple):
    """A name of an inode that has several, and is not the parent's."""

    path: bytes
    changed: bool
    before: Optional[int]


class _Comparison:
    def __init__(self, *, docker: bool) -> None:
        self._docker = docker
        self._kinds: Dict[bytes, ChangeKind] = {}
        self._links: Dict[Tuple[int, int], List[_Linked]] = {}
        self._pending: List[_Pending] = []

    def run(self, new: StackView, old: Optional[StackView]) -> Dict[bytes, ChangeKind]:
        """The kind of each change by its path."""
        self._pending.append(_Pending((), True, old is not None))
        with Cursor(new) as mine, Cursor(old if old is not None else new) as theirs:
            while self._pending:
                path, in_new, in_old = self._pending.pop()
                here = mine.at(path) if in_new else None
                there = theirs.at(path) if in_old else None
                for name in _may_differ(here, there):
                    self._name((*path, name), here, there)
        self._add_links()
        self._add_parents()
        return self._kinds

    def _name(self, path: Parts, here: Optional[MergedDir], there: Optional[MergedDir]) -> None:
        name = path[-1]
        found = here.find(name) if here is not None else None
        before = there.find(name) if there is not None else None
        where = b"/" + b"/".join(path)
        if here is None or found is None:
            if before is not None:
                self._kinds[where] = ChangeKind.DELETED
            return
        if there is None or before is None:
            self._kinds[where] = ChangeKind.ADDED
        elif self._differ(name, here, found, there, before):
            self._kinds[where] = ChangeKind.MODIFIED
        in_new = found.kind == DIR
        in_old = before is not None and before.kind == DIR
        if in_new or (in_old and self._is_dockers_directory(here, found, name)):
            self._pending.append(_Pending(path, in_new, in_old))
        elif not self._docker:
            self._note_link(where, here, found, before)

    def _differ(
        self, name: bytes, here: MergedDir, found: Found, there: MergedDir, before: Found
    ) -> bool:
        mine, theirs = here.source_of(name, found), there.source_of(name, before)
        if self._docker:
            return docker_differs(mine, theirs, name)
        if found.kind == before.kind == DIR:
            with mine.child(name) as new, theirs.child(name) as old:
                return bool(directory_differences(new, old))
        return bool(entry_differences(mine, theirs, name))

    def _is_dockers_directory(self, here: MergedDir, found: Found, name: bytes) -> bool:
        """Whether Docker takes this for a directory, and lists what the old one has lost."""
        if not self._docker or found.kind != SPECIAL:
            return False
        # The bit of S_IFDIR is part of S_IFSOCK and S_IFBLK, too.
        return bool(here.layer_of(found).lstat(name).st_mode & stat.S_IFDIR)

    def _note_link(
        self, where: bytes, here: MergedDir, found: Found, before: Optional[Found]
    ) -> None:
        if before is not None and before.inode == found.inode:
            return
        status = here.layer_of(found).lstat(where.rpartition(b"/")[2])
        if status.st_nlink > 1:
            linked = _Linked(where, where in self._kinds, before.inode if before else None)
            self._links.setdefault((status.st_dev, status.st_ino), []).append(linked)

    def _add_links(self) -> None:
        """A file that is as it was, but has become a link of one that is not, has changed."""
        for group in self._links.values():
            if any(name.changed for name in group) or len({name.before for name in group}) > 1:
                for name in group:
                    self._kinds.setdefault(name.path, ChangeKind.MODIFIED)

    def _add_parents(self) -> None:
        for path in list(self._kinds):
            above = path.rpartition(b"/")[0]
            while above and above not in self._kinds:
                self._kinds[above] = ChangeKind.MODIFIED
                above = above.rpartition(b"/")[0]


def _may_differ(here: Optional[MergedDir], there: Optional[MergedDir]) -> Iterable[bytes]:
    """The names at which two directories can show different things."""
    if here is None or there is None:
        only = there if here is None else here
        return only.entries if only is not None else ()
    shared = _shared_below(here, there)
    if shared:
        above = (*here.stack[:-shared], *there.stack[:-shared])
        return {entry.name for directory in above for entry in directory.names()}
    if len({directory.stat().st_dev for directory in (*here.stack, *there.stack)}) > 1:
        return here.entries.keys() | there.entries.keys()
    names = {name for name, _ in here.entries.items() ^ there.entries.items()}
    # The topmost directory may be the same, and one that merges with it another.
    names.update(name for name, found in here.entries.items() if len(found.merged) > 1)
    return names


def _shared_below(here: MergedDir, there: MergedDir) -> int:
    """How many directories, from the lowest up, are the very same in both stacks."""
    count = 0
    for mine, theirs in zip(reversed(here.stack), reversed(there.stack)):
        if not os.path.samestat(mine.stat(), theirs.stat()):
            break
        count += 1
    return count
