"""A second tree with the same files: directories made anew, everything else linked.

This is how the `overlay` driver begins a layer with its parent's content. Docker makes symbolic
links and specials anew as well; linking them shows the same and costs no inode. What cannot have
another name is copied: it has too many, is immutable, or lies in another project quota.

A directory is finished, its times included, when its names are made and its sub-directories are
there, still empty: nothing that happens in those changes it. So a walk never comes back, and can
be split among processes at any time.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

from ovl1.closing import Closing
from ovl1.linux import xattrs
from ovl1.linux.beneath import Directory
from ovl1.linux.trail import Trail
from ovl1.linux.workers import Share, share_out, sharers
from ovl1.tree.copy import copy_directory_metadata, copy_entry
from ovl1.tree.regroup import regroup

_WORTH_FORKING = 4000
"""Entries; they take about 25 ms, workers a few to begin. A tenth of it is worth giving away."""

_ACLS = frozenset(("system.posix_acl_access", "system.posix_acl_default"))

_Parts = Tuple[bytes, ...]
_Refused = List[Tuple[_Parts, Dict[bytes, int]]]


@dataclass(frozen=True)
class Cloned:
    """What became of the entries of a tree, each name counted; directories are not."""

    linked: int = 0
    """Share the inode with the source."""
    reflinked: int = 0
    """Are inodes of their own that share the blocks."""
    copied: int = 0
    """Share nothing."""

    def __add__(self, other: Cloned) -> Cloned:
        return Cloned(
            self.linked + other.linked,
            self.reflinked + other.reflinked,
            self.copied + other.copied,
        )


def clone(source: Directory, target: Directory, *, workers: Optional[int] = None) -> Cloned:
    """Fill the empty directory `target` with the tree `source`, its own metadata included.

    Nothing in `source` changes but link counts and change times. Names that share an inode do so
    in `target`, too.

    Args:
        workers: how many processes for a tree that is not small; by default one for each
            processor that this process may use, up to four.

    Raises:
        LayerError: a file that had to be copied is only a stub (``metacopy``).
        OSError: what a system call refused; `target` is then incomplete.
    """
    # The target may have inherited ACLs from where it was made, and would pass them on.
    for attribute in _ACLS.intersection(xattrs.read_fd(target.fd)):
        xattrs.remove_fd(target.fd, attribute)
    alone = (workers or sharers()) < 2
    with _Walk(source, target, None) as walk:
        walk.go_on(Share(), limit=None if alone else _WORTH_FORKING)
        rest = walk.rest()
        linked, refused = walk.linked, walk.refused
    if rest.pending:
        for more, others in share_out(
            lambda part, share: _walked(source, target, part, share), rest, workers=workers
        ):
            linked += more
            refused += others
    if not refused:
        return Cloned(linked)
    with _Copies(source, target) as copies:
        return Cloned(linked) + copies.make(refused)


class _Rest(NamedTuple):
    """Directories still to be cloned; their clones are there, but empty."""

    at: _Parts
    pending: List[Tuple[int, bytes]]
    """Each lies in one of the directories on the way to `at`: how deep that is, and the name."""


class _Walk(Closing):
    """Clones directories one by one, whatever is refused left out."""

    def __init__(self, source: Directory, target: Directory, rest: Optional[_Rest]) -> None:
        self._source, self._target = Trail(source), Trail(target)
        self._pending: List[Tuple[int, bytes]] = []
        self._made = self.linked = 0
        self.refused: _Refused = []
        if rest is None:
            self._fill(source, target)
        else:
            self._pending += rest.pending
            self._source.to(rest.at)
            self._target.to(rest.at)

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._source.close()
        self._target.close()

    def go_on(self, share: Share[_Rest], limit: Optional[int] = None) -> None:
        """Clone what is pending, or until `limit` names have been made."""
        pending, worth_giving = self._pending, 0
        while pending and (limit is None or self._made < limit):
            if self._made >= worth_giving and len(pending) > 1 and share.wanted():
                share.give(self._half())
                worth_giving = self._made + _WORTH_FORKING // 10
            depth, name = pending.pop()
            self._fill(self._source.enter(depth, name), self._target.enter(depth, name))

    def rest(self) -> _Rest:
        """What is pending."""
        return _Rest(tuple(self._source.parts), self._pending)

    def _half(self) -> _Rest:
        """Every second of what is pending: big ones, from far up, and small ones for both."""
        half = self._pending[::2]
        del self._pending[::2]
        deepest = max(depth for depth, _ in half)
        return _Rest(tuple(self._source.parts[:deepest]), half)

    def _fill(self, source: Directory, target: Directory) -> None:
        status = source.stat()
        made = target.link_all_from(source)
        depth = len(self._source.parts)
        for name in made.subdirectories:
            target.mkdir(name)
            self._pending.append((depth, name))
        copy_directory_metadata(source, target, status)
        self.linked += made.linked
        self._made += made.linked + len(made.subdirectories)
        if made.refused:
            self.refused.append((tuple(self._source.parts), made.refused))


def _walked(
    source: Directory, target: Directory, part: _Rest, share: Share[_Rest]
) -> Tuple[int, _Refused]:
    with _Walk(source, target, part) as walk:
        walk.go_on(share)
        return walk.linked, walk.refused


class _Copy(NamedTuple):
    """Where the first copy of an inode lies."""

    parts: _Parts
    name: bytes
    reflinked: bool


class _Copies(Closing):
    """Copies what could not be linked: an inode once, for all its names."""

    def __init__(self, source: Directory, target: Directory) -> None:
        self._source, self._target = Trail(source), Trail(target)
        self._root = target
        self._copies: Dict[Tuple[int, int], _Copy] = {}
        self._crowded: Dict[int, _Copy] = {}
        """By inode, those that took some of the links that were asked for, and then no more."""

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._source.close()
        self._target.close()

    def make(self, refused: _Refused) -> Cloned:
        """Copy; what had been linked before its inode took no more is counted back."""
        done = Cloned()
        for parts, names in refused:
            source, target = self._source.to(parts), self._target.to(parts)
            for name, error in names.items():
                status = source.lstat(name)
                key = (status.st_dev, status.st_ino)
                copy = self._copies.get(key)
                if copy:
                    self._link(copy, target, name)
                else:
                    copy = _Copy(parts, name, copy_entry(source, target, name))
                    self._copies[key] = copy
                if error == errno.EMLINK and status.st_nlink > 1:
                    self._crowded[status.st_ino] = copy
                done += _counted(copy)
            _set_times(target, source.stat())
        return done + self._regrouped() if self._crowded else done

    def _link(self, copy: _Copy, target: Directory, name: bytes) -> None:
        with self._root.descend(copy.parts) as first:
            target.link_from(first, copy.name, name)

    def _regrouped(self) -> Cloned:
        """Give the names that an inode did take to its copy, so that all are one group again."""
        done = Cloned()
        places = {inode: (copy.parts, copy.name) for inode, copy in self._crowded.items()}
        for inode in regroup(self._root, places):
            done += Cloned(linked=-1) + _counted(self._crowded[inode])
        return done


def _counted(copy: _Copy) -> Cloned:
    return Cloned(reflinked=1) if copy.reflinked else Cloned(copied=1)


def _set_times(directory: Directory, status: os.stat_result) -> None:
    os.utime(directory.fd, ns=(status.st_atime_ns, status.st_mtime_ns))
