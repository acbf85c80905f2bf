"""Laws of changes and diffs: whatever is done in a container, its tar brings it about again.

Changes are made through a real overlay mount, whose content is read by plain means. What a layer's
tar does not say, or Docker does not heed, is taken out on both sides: times are whole seconds and
not before 1970, an attribute without a value gets lost, and one that a directory has lost comes
back; the root's own metadata are the driver's. There are no sockets here.
"""

from __future__ import annotations

import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import pytest
from hypothesis import given

from ovl1.formats.tarstream import as_file
from ovl1.layer.apply import apply_to_root
from ovl1.layer.changes import changes
from ovl1.layer.diff import diff
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.model import ChangeKind
from ovl1.tree.view import StackView
from tests.support.trees import Change, Seen, change, furnish, shown
from tests.support.trees import changes as todo_lists

pytestmark = pytest.mark.needs("root", "overlay")

SECOND = 10**9


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Container:
    """A v1 container made by hand: a complete tree below, an init layer, and changes to it."""

    def __init__(
        self, place: Path, base: List[Change], init: List[Change], todo: List[Change]
    ) -> None:
        self.root, self.init, self.upper = (place / name for name in ("root", "init", "upper"))
        self.root.mkdir()
        self.init.mkdir()
        furnish(self.root)
        change(self.root, base)
        self.before = self._changed(place, self.init, init)
        subprocess.run(["cp", "-a", "--", self.init, self.upper], check=True)
        self.after = self._changed(place, self.upper, todo)

    def _changed(self, place: Path, upper: Path, todo: List[Change]) -> Dict[bytes, Seen]:
        work, merged = place / f"work-{upper.name}", place / f"merged-{upper.name}"
        work.mkdir()
        merged.mkdir()
        with mounts.mounted(mounts.overlay([self.root], upper, work), merged):
            change(merged, todo)
            return shown(merged)

    def views(self) -> Tuple[StackView, StackView]:
        return view(self.upper, self.root), view(self.init, self.root)


def view(*paths: Path) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def as_a_tar_says(tree: Dict[bytes, Seen]) -> Dict[bytes, Seen]:
    """What of a tree comes through a tar, hard links to unchanged files aside."""
    return {
        path: seen._replace(
            mtime_ns=max(seen.mtime_ns // SECOND * SECOND, 0),
            xattrs=tuple(pair for pair in seen.xattrs if pair[1]),
            same_as=b"",
        )
        for path, seen in tree.items()
        if path != b"."
    }


def merged(before: Dict[bytes, Seen], after: Dict[bytes, Seen]) -> Dict[bytes, Seen]:
    """`after` as a tar makes it from `before`: a directory loses no attributes."""
    found = dict(after)
    for path, seen in after.items():
        if stat.S_ISDIR(seen.mode) and path in before and stat.S_ISDIR(before[path].mode):
            both = {**dict(before[path].xattrs), **dict(seen.xattrs)}
            found[path] = seen._replace(xattrs=tuple(sorted(both.items())))
    return found


def unlinked(tree: Dict[bytes, Seen]) -> Dict[bytes, Seen]:
    """A tree without its hard links and the root."""
    return {path: seen._replace(same_as=b"") for path, seen in tree.items() if path != b"."}


def applied(tar: Iterator[bytes], parent: Optional[Path], target: Path) -> Dict[bytes, Seen]:
    target.mkdir()
    with Directory.open(target) as directory, as_file(tar) as file:
        if parent is None:
            apply_to_root(file, None, directory)
        else:
            with Directory.open(parent) as below:
                apply_to_root(file, below, directory)
    return shown(target)


@given(base=todo_lists, init=todo_lists, todo=todo_lists)
def test_a_diff_applied_to_the_old_gives_the_new(
    workshop: Path, base: List[Change], init: List[Change], todo: List[Change]
) -> None:
    with tempfile.TemporaryDirectory(dir=workshop) as name:
        place = Path(name)
        made = Container(place, base, init, todo)
        new, old = made.views()
        with new, old:
            whole = applied(diff(old, None), None, place / "old")
            assert as_a_tar_says(whole) == as_a_tar_says(made.before)
            assert diff_twice(new, old)
            result = applied(diff(new, old), place / "old", place / "new")
            assert as_a_tar_says(result) == as_a_tar_says(merged(made.before, made.after))
            listed = {
                each.path[1:] for each in changes(new, old) if each.kind != ChangeKind.DELETED
            }
        # What was linked among the changed files is linked again.
        assert groups(result, listed) == groups(made.after, listed)


def diff_twice(new: StackView, old: StackView) -> bool:
    return b"".join(diff(new, old)) == b"".join(diff(new, old))


def groups(tree: Dict[bytes, Seen], paths: set[bytes]) -> set[frozenset[bytes]]:
    """The hard link groups among some paths."""
    found: Dict[bytes, List[bytes]] = {}
    for path in paths:
        found.setdefault(tree[path].same_as, []).append(path)
    return {frozenset(names) for names in found.values()}


@given(init=todo_lists, todo=todo_lists)
def test_no_changes_means_the_same(workshop: Path, init: List[Change], todo: List[Change]) -> None:
    with tempfile.TemporaryDirectory(dir=workshop) as name:
        made = Container(Path(name), [], init, todo)
        new, old = made.views()
        with new, old:
            exact = list(changes(new, old))
            dockers = list(changes(new, old, docker=True))
        if unlinked(made.before) != unlinked(made.after):
            assert exact
        if made.before == {**made.after, b".": made.before[b"."]}:
            assert not exact
        assert {each.path for each in dockers} <= {each.path for each in exact}
        assert [each.path for each in exact] == sorted({each.path for each in exact})


@given(init=todo_lists, todo=todo_lists)
def test_what_is_known_of_the_lower_layer_makes_no_difference(
    workshop: Path, init: List[Change], todo: List[Change]
) -> None:
    with tempfile.TemporaryDirectory(dir=workshop) as name:
        place = Path(name)
        made = Container(place, [], init, todo)
        # The same tree with other inodes: nothing is recognised, all is compared.
        subprocess.run(["cp", "-a", "--", made.root, place / "copy"], check=True)
        new, old = made.views()
        with new, old, view(made.init, place / "copy") as stranger:
            for docker in (False, True):
                assert set(changes(new, old, docker=docker)) == set(
                    changes(new, stranger, docker=docker)
                )
