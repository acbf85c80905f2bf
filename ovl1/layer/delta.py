"""What an overlay2 layer directory must hold so that, over its parent, it shows a given view.

`delta` walks the view of a layer and that of its parent side by side and yields, directory by
directory, what belongs into the layer's `diff`: directories, entries, whiteouts. Two sources of
truth are combined. What the layer's tar lists (if known) is always there, as `docker load` would
have put it; what the tar does not list but the views show to be different is there as well, with
that reason. So the result shows the layer exactly as the old store did, whatever made it so.

Law: with the events applied to an empty directory D, the stack (D, parent) shows the same as the
layer's own view. Cost: one directory read per layer and side; metadata are read for directories,
symbolic links and specials, and for files only where inodes differ.
"""

from __future__ import annotations

from typing import Iterator, List, NamedTuple, Optional, Set, Union

from ovl1.layer.listing import Listed
from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, Directory
from ovl1.numberset import NumberSet
from ovl1.tree.compare import (
    directory_differences,
    entry_differences,
    linked_within,
    same_below,
)
from ovl1.tree.marks import METACOPY, is_whiteout
from ovl1.tree.view import Found, MergedDir, StackView

LISTED = "in the layer's tar"
ON_THE_WAY = "holds something that is in the layer's tar"
DIFFERENT = "differs from the parent layer"
TIME_ONLY = "differs from the parent layer in its modification time"


class Enter(NamedTuple):
    """Make this directory and go into it; its metadata are set on `Leave`."""

    name: bytes
    """Empty for the layer's root."""
    source: Directory
    opaque: bool
    reason: str


class Leave(NamedTuple):
    """This directory is complete: give it the metadata of `source` (open until the next event)."""

    source: Directory


class Entry(NamedTuple):
    """Put this non-directory here, as `source` has it."""

    name: bytes
    source: Directory
    found: Found
    reason: str


class Whiteout(NamedTuple):
    """Hide this name of the parent layer."""

    name: bytes
    reason: str


class Absent(NamedTuple):
    """A note: the tar lists this name, but the layer's view has no such entry."""

    name: bytes


Event = Union[Enter, Leave, Entry, Whiteout, Absent]


def delta(
    new: StackView,
    old: Optional[StackView],
    listed: Optional[Listed],
    *,
    keep_directory_times: bool = True,
) -> Iterator[Event]:
    """The content of the layer whose view is `new` over the parent whose view is `old`.

    Args:
        old: None for a layer without parent.
        listed: what the layer's tar lists, None if that is not known.
        keep_directory_times: a directory that differs from the parent's only in its modification
            time belongs into the layer. Docker up to 17.11 gave every directory that it cloned
            the time of the cloning (moby commit 77a2bc3e5b), so in its stores that is each one.
    """
    walk = _Walk(new, old, keep_directory_times=keep_directory_times)
    try:
        yield from walk.events(listed)
    finally:
        walk.close()


class _Frame:
    """A directory on the way: both views of it, and which names are still to do."""

    def __init__(
        self, name: bytes, new: MergedDir, old: Optional[MergedDir], listed: Optional[Listed]
    ) -> None:
        self.name, self.new, self.old = name, new, old
        self.opaque = False
        self.reason = DIFFERENT
        self.entered = False
        self.in_the_tar = listed.children() if listed is not None else {}
        names = _may_differ(new, old)
        names.update(self.in_the_tar)
        self.todo = iter(sorted(names))

    def close(self) -> None:
        self.new.close()
        if self.old is not None:
            self.old.close()


class _Walk:
    def __init__(
        self, new: StackView, old: Optional[StackView], *, keep_directory_times: bool
    ) -> None:
        self._new, self._old = new, old
        self._keep_times = keep_directory_times
        self._frames: List[_Frame] = []
        self._has_listing = False
        self._links: Optional[List[NumberSet]] = None

    def close(self) -> None:
        while self._frames:
            self._frames.pop().close()

    def events(self, listed: Optional[Listed]) -> Iterator[Event]:
        old = self._old.root() if self._old is not None else None
        root = _Frame(b"", self._new.root(), old, listed)
        root.opaque = listed is not None and listed.opaque
        self._has_listing = listed is not None
        self._frames.append(root)
        yield from self._enter()
        while self._frames:
            frame = self._frames[-1]
            name = next(frame.todo, None)
            if name is not None:
                yield from self._name(frame, name)
                continue
            if frame.entered:
                yield Leave(frame.new.top)
            self._frames.pop().close()

    def _enter(self) -> Iterator[Event]:
        for frame in self._frames:
            if not frame.entered:
                frame.entered = True
                yield Enter(frame.name, frame.new.top, frame.opaque, frame.reason)

    def _name(self, frame: _Frame, name: bytes) -> Iterator[Event]:
        found = frame.new.entries.get(name)
        before = frame.old.entries.get(name) if frame.old is not None else None
        listed = frame.in_the_tar.get(name)
        if found is None:
            yield from self._hidden(frame, name, before, listed)
        elif found.kind == DIR:
            child = self._directory(frame, name, before, listed)
            if child is not None:
                self._frames.append(child)
                if child.reason:
                    yield from self._enter()
                else:
                    child.reason = DIFFERENT
        else:
            reason = LISTED if listed is not None and listed.is_entry else DIFFERENT
            if reason == LISTED or before is None or not self._same(frame, name, found, before):
                yield from self._enter()
                yield Entry(name, frame.new.source_of(name, found), found, reason)

    def _hidden(
        self, frame: _Frame, name: bytes, before: Optional[Found], listed: Optional[Listed]
    ) -> Iterator[Event]:
        """A name that the view does not show: a whiteout, or a note that the tar lists it."""
        # An image may hold a device 0:0 as such: unpacked, it hides its name like any whiteout.
        if listed is not None and (listed.whiteout or _is_hidden_in(frame.new.top, name)):
            yield from self._enter()
            yield Whiteout(name, LISTED)
        elif before is not None:
            yield from self._enter()
            yield Whiteout(name, DIFFERENT)
        elif listed is not None and listed.is_entry:
            yield Absent(name)

    def _directory(
        self, frame: _Frame, name: bytes, before: Optional[Found], listed: Optional[Listed]
    ) -> Optional[_Frame]:
        """A frame for the sub-directory, with a reason if it must be entered; None to skip it."""
        new = frame.new.child(name)
        old = None
        if before is not None and before.kind == DIR and frame.old is not None:
            old = frame.old.child(name)
        if old is not None and listed is None and self._same_below(new, old):
            new.close()
            old.close()
            return None
        replaced = old is not None and (new.opaque or (listed is not None and listed.whiteout))
        opaque = replaced or (listed is not None and listed.opaque)
        reason = self._directory_reason(new, old, listed, opaque=opaque)
        if opaque and old is not None:
            old.close()
            old = None
        child = _Frame(name, new, old, listed)
        child.opaque, child.reason = opaque, reason
        return child

    def _directory_reason(
        self, new: MergedDir, old: Optional[MergedDir], listed: Optional[Listed], *, opaque: bool
    ) -> str:
        if listed is not None:
            return LISTED if listed.is_entry else ON_THE_WAY
        if opaque or old is None:
            return DIFFERENT
        differences = directory_differences(new.top, old.top)
        if differences == ["modification time"]:
            return TIME_ONLY if self._keep_times else ""
        return DIFFERENT if differences else ""

    def _same(self, frame: _Frame, name: bytes, found: Found, before: Found) -> bool:
        if found.kind != before.kind or frame.old is None:
            return False
        if found.inode == before.inode:
            return True
        mine, theirs = frame.new.source_of(name, found), frame.old.source_of(name, before)
        return not (entry_differences(mine, theirs, name) or self._shared(mine, theirs, name))

    def _same_below(self, new: MergedDir, old: MergedDir) -> bool:
        """Whether both directories show the same, as far as that is found out cheaply.

        Where the tar is known, a change that it does not list is rare; and what is opaque would be
        made anew as a whole. Elsewhere a change far down would be looked for on each level.
        """
        if new.same_directories(old):
            return True
        worth_it = self._has_listing or new.opaque
        single = len(new.stack) == len(old.stack) == 1
        return worth_it and single and same_below(new.top, old.top, self._shared)

    def _shared(self, mine: Directory, theirs: Directory, name: bytes) -> bool:
        """Whether the entry has further names within either view, so that inheriting would tell.

        The link count alone does not say: it counts names in other layers, too. Nor is a stub the
        same if its data have not been looked for (``metacopy``).
        """
        if METACOPY in xattrs.read_at(mine.fd, name) and mine.lends(name):
            return True
        a, b = mine.lstat(name), theirs.lstat(name)
        if a.st_nlink == b.st_nlink == 1:
            return False
        if self._links is None:
            views = [view for view in (self._new, self._old) if view is not None]
            self._links = [linked_within(view) for view in views]
        return any(a.st_ino in links or b.st_ino in links for links in self._links)


def _may_differ(new: MergedDir, old: Optional[MergedDir]) -> Set[bytes]:
    """Names that need a look: all but those that are one and the same inode on both sides.

    The same single directory shows the same below, too; where several merge, the others may not
    be the same.
    """
    if old is None:
        return set(new.entries)
    names = {name for name, _ in new.entries.items() ^ old.entries.items()}
    if len(new.stack) > 1 or len(old.stack) > 1:
        names.update(name for name, found in new.entries.items() if len(found.merged) > 1)
    return names


def _is_hidden_in(directory: Directory, name: bytes) -> bool:
    try:
        return is_whiteout(directory.lstat(name))
    except FileNotFoundError:
        return False
