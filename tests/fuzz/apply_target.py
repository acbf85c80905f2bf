"""Applying any bytes as a layer: the laws that hold whatever they are.

They are applied over one small parent, to a complete tree and to overlay directories, between files
that must stay as they are. It is refused with a `LayerError`, or done; then what was done can be
written as a layer again, and what an overlay shows is what the complete tree has.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional

from ovl1.errors import LayerError
from ovl1.formats import tarheader, tarstream
from ovl1.layer.apply import apply_to_diff, apply_to_root
from ovl1.layer.diff import diff
from ovl1.layer.policy import Policy
from ovl1.linux.beneath import Directory
from ovl1.tree.remove import remove_tree
from ovl1.tree.view import StackView
from tests.fuzz import mutate
from tests.support.hostile import CASES
from tests.support.hostile_case import Tree, differences, tree, ungrouped
from tests.support.hostile_names import PARENT
from tests.support.hostile_view import shown

POLICY = Policy(max_bytes=1 << 20, max_entries=200)

_SECOND = 10**9
_LINKS = (b"to-dir", b"to-file", b"chain", b"absolute", b"inside", b"loop", b"dangling")
"""The parent's symbolic links: unpacking for overlay2 does not see them."""
_SLOW = ("path of 4095",)
"""Two thousand directories in each other take the tests themselves seconds to compare."""


def seeds() -> Dict[str, bytes]:
    """The catalogue's layers, all but the big ones."""
    cases = (case for case in CASES.values() if case.limit is None and case.name not in _SLOW)
    made = {case.name: case.made() for case in cases}
    return {name: tar for name, tar in made.items() if len(tar) <= mutate.LARGEST}


class Arena:
    """Where layers are applied: `PARENT`'s tree, and canaries around.

    Args:
        base: an empty directory, on a file system with attributes; one in memory is faster.
    """

    def __init__(self, base: Path) -> None:
        self._around = base / "around"
        self._stage = self._around / "a" / "b"
        self._stage.mkdir(parents=True)
        for place in (self._around, self._around / "a", self._stage):
            (place / "canary").write_bytes(b"canary")
            (place / "etc").mkdir()
            (place / "etc/passwd").write_bytes(b"not yours")
            os.setxattr(place / "canary", "trusted.canary", b"yes")
        self._parent = base / "parent"
        self._parent.mkdir()
        with Directory.open(self._parent) as target:
            apply_to_root(io.BytesIO(PARENT), None, target)
        self._before = self._bystanders()

    def __call__(self, data: bytes) -> None:
        """Apply `data` in all ways.

        Raises:
            AssertionError: a law does not hold.
            Exception: other than `LayerError`, which is as good as success.
        """
        descriptors = os.listdir("/proc/self/fd")
        whole, seen = self._complete(data), self._overlay(data)
        self._overlay(data, mounted=True)
        assert len(os.listdir("/proc/self/fd")) == len(descriptors), "a descriptor is left open"
        self.check()
        if not (any(link in data for link in _LINKS) or _links_disagree(data)):
            assert (seen is None) == (whole is None), "only one of the layouts refuses it"
            if seen is not None and whole is not None:
                _same(whole, seen)

    def check(self) -> None:
        """Raise AssertionError if something has changed that no layer may touch."""
        now = self._bystanders()
        assert now == self._before, differences(self._before, now)

    @contextlib.contextmanager
    def target(self, name: str) -> Iterator[Directory]:
        """A new directory, removed at the end."""
        (self._stage / name).mkdir()
        try:
            with Directory.open(self._stage / name) as target:
                yield target
        finally:
            with Directory.open(self._stage) as stage:
                remove_tree(stage, os.fsencode(name))

    def _complete(self, data: bytes) -> Optional[Tree]:
        """The tree that `data` makes over the parent, and its diff again; None if refused."""
        with self.target("root") as target, Directory.open(self._parent) as parent:
            try:
                apply_to_root(io.BytesIO(data), parent, target, policy=POLICY)
            except LayerError:
                return None
            found = tree(self._stage / "root")
            again = io.BytesIO(b"".join(diff(_view(target), _view(parent))))
            with self.target("again") as other:
                apply_to_root(again, parent, other)
                # That a link of unchanged files has been made or undone is no change.
                _same(_unlinked(found), _unlinked(tree(self._stage / "again")))
            return found

    def _overlay(self, data: bytes, *, mounted: bool = False) -> Optional[Tree]:
        """What `data` as an overlay directory over the parent shows; None if refused."""
        with self.target("diff") as target, Directory.open(self._parent) as parent:
            try:
                apply_to_diff(
                    io.BytesIO(data), _view(parent), target, policy=POLICY, mounted=mounted
                )
            except LayerError:
                return None
            return shown(StackView([target, parent]))

    def _bystanders(self) -> Tree:
        """All that no layer may touch."""
        found = {b"around/" + path: node for path, node in tree(self._around).items()}
        found[b"around/a/b"] = found[b"around/a/b"]._replace(mtime_ns=None)
        found.update({b"parent/" + path: node for path, node in tree(self._parent).items()})
        return found


def _view(directory: Directory) -> StackView:
    """A view that needs no closing: its directory is the caller's."""
    return StackView([directory])


def _same(wanted: Tree, found: Tree) -> None:
    wanted, found = _comparable(wanted), _comparable(found)
    told = differences(ungrouped(wanted, found), found)
    assert told == {}, told


def _links_disagree(data: bytes) -> bool:
    """Whether hard links ask for different metadata: an overlay directory gives all of them the
    last ones, a complete tree leaves a link that was like the inherited file as it is."""
    wanted = set()
    with contextlib.suppress(LayerError):
        for entry, _ in tarstream.entries(io.BytesIO(data)):
            if entry.kind == tarheader.HARDLINK:
                xattrs = tuple(sorted(entry.xattrs.items()))
                wanted.add((entry.mode, entry.uid, entry.gid, entry.mtime_ns, xattrs))
    return len(wanted) > 1


def _unlinked(found: Tree) -> Tree:
    return {path: node._replace(group=frozenset()) for path, node in found.items()}


def _comparable(found: Tree) -> Tree:
    """Without what is left to chance, and what is lost in a tar: parts of seconds, and the root."""
    kept = {}
    for path, node in found.items():
        if path:
            mtime = None
            if node.kind != stat.S_IFDIR and node.mtime_ns is not None:
                mtime = node.mtime_ns // _SECOND
            kept[path] = node._replace(inode=0, mtime_ns=mtime)
    return kept


@contextlib.contextmanager
def arena(base: Path) -> Iterator[Callable[[bytes], None]]:
    """See `Arena`."""
    yield Arena(base)
