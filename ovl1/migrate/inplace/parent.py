"""The parent's view, looked into by path: what goes from a layer comes back from there."""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Union

from ovl1.closing import Closing
from ovl1.linux.beneath import Directory, Name
from ovl1.tree.view import Cursor, Found, MergedDir, StackView

Entries = Dict[bytes, Union[Name, Found]]
"""By name, what has a `kind` and an `inode`."""


class Parent(Closing):
    """The directories of a parent; the view stays the caller's.

    Args:
        is_tree: whether it is one tree, of which all names count, also those of devices 0:0 that
            a view does not show: they are in the clones of the tree, too.
    """

    def __init__(self, view: StackView, *, is_tree: bool) -> None:
        self._cursor = Cursor(view)
        self._is_tree = is_tree

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self._cursor.close()

    def at(self, parts: Sequence[bytes]) -> Optional[ParentDirectory]:
        """The directory at `parts`, valid until the next call; None if there is none."""
        try:
            return ParentDirectory(self._cursor.at(parts), is_tree=self._is_tree)
        except (KeyError, NotADirectoryError):
            return None


class ParentDirectory:
    """One directory of a parent."""

    def __init__(self, merged: MergedDir, *, is_tree: bool) -> None:
        self._merged, self._is_tree = merged, is_tree
        self.top = merged.top
        """The directory whose metadata count; in a tree, the directory itself."""

    def entries(self) -> Entries:
        """What is in it; to be asked once, it may be long."""
        if self._is_tree:
            return {found.name: found for found in self.top.names()}
        return dict(self._merged.entries)

    def holder(self, name: bytes) -> Directory:
        """The directory in which the entry `name` itself lies."""
        if self._is_tree:
            return self.top
        return self._merged.layer_of(self._merged.entries[name])
