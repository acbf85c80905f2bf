"""Laws of the conversion: over any history of layers, the new stack shows what the old one did.

The kernel is the judge: histories are made through real overlay mounts, and the converted stack is
mounted and walked by plain means. The view code must agree with it as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.layer.build import Built, build, count
from ovl1.layer.delta import delta
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.numberset import NumberSet
from ovl1.tree.compare import view_differences
from ovl1.tree.view import StackView
from tests.support.trees import Change, change, changes, furnish, shown

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Store:
    """A v1 store made by hand beside its conversion, in one directory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.old: List[Path] = []
        self.new: List[Path] = []

    def directory(self, name: str) -> Path:
        path = self.place / name
        path.mkdir()
        return path

    @contextlib.contextmanager
    def mounted(self, lowers: Sequence[Path], upper: Path) -> Iterator[Path]:
        number = len(list(self.place.iterdir()))
        work, merged = self.directory(f"work{number}"), self.directory(f"merged{number}")
        with mounts.mounted(mounts.overlay(lowers, upper, work), merged):
            yield merged

    def add_image_layer(self, todo: Sequence[Change]) -> None:
        """A complete tree over the last one, as Docker makes it: links where nothing changed."""
        number = len(self.old)
        root = self.directory(f"root{number}")
        if number == 0:
            furnish(root)
            change(root, todo)
        else:
            with self.mounted([self.old[-1]], self.directory(f"changes{number}")) as merged:
                change(merged, todo)
                flatten(merged, self.old[-1], root)
        self.old.append(root)

    def predict(self, new: Sequence[Path], old: Sequence[Path], *, own_copy: bool) -> Built:
        with view(new) as after, view(old) as before:
            return count(
                delta(after, before if old else None, None), NumberSet(), own_copy=own_copy
            )

    def convert(self, new: Sequence[Path], old: Sequence[Path], *, own_copy: bool) -> Built:
        target = self.directory(f"diff{len(self.new)}")
        with view(new) as after, view(old) as before, Directory.open(target) as directory:
            events = delta(after, before if old else None, None)
            built = build(events, directory, own_copy=own_copy)
        self.new.insert(0, target)
        return built


def view(paths: Sequence[Path]) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def flatten(merged: Path, parent: Path, root: Path) -> None:
    """Copy `merged` to `root`; a file that is still the parent's becomes another name of it."""
    top = os.fsencode(merged)
    copies: Dict[int, bytes] = {}
    for directory, subdirectories, files in os.walk(top, topdown=False):
        relative = os.path.relpath(directory, top)
        target = os.path.join(os.fsencode(root), relative)
        os.makedirs(target, exist_ok=True)
        links = [n for n in subdirectories if os.path.islink(os.path.join(directory, n))]
        for name in files + links:
            source, made = os.path.join(directory, name), os.path.join(target, name)
            before = os.path.join(os.fsencode(parent), relative, name)
            status = os.lstat(source)
            if is_parents(status, before):
                os.link(before, made, follow_symlinks=False)
            elif status.st_ino in copies:
                os.link(copies[status.st_ino], made, follow_symlinks=False)
            else:
                copies[status.st_ino] = made
                subprocess.run([b"cp", b"-a", b"--", source, made], check=True)
        shutil.copystat(directory, target)
        os.chown(target, os.lstat(directory).st_uid, os.lstat(directory).st_gid)


def is_parents(status: os.stat_result, before: bytes) -> bool:
    if not os.path.lexists(before) or not stat.S_ISREG(status.st_mode):
        return False
    known = os.lstat(before)
    same = ("st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns")
    return all(getattr(status, field) == getattr(known, field) for field in same)


@given(history=st.lists(changes, min_size=1, max_size=4))
def test_image_layers_show_the_same_as_stacks(workshop: Path, history: List[List[Change]]) -> None:
    with tempfile.TemporaryDirectory(dir=workshop) as name:
        store = Store(Path(name))
        for todo in history:
            store.add_image_layer(todo)
        pairs = [([root], store.old[max(i - 1, 0) : i]) for i, root in enumerate(store.old)]
        predicted = [store.predict(new, old, own_copy=False) for new, old in pairs]
        for (new, old), expected in zip(pairs, predicted):
            # What has been made of the layers below must make no difference.
            assert store.convert(new, old, own_copy=False) == expected
            before = shown(new[0])
            upper = store.directory(f"top{len(store.new)}")
            shutil.copystat(new[0], upper)
            os.chown(upper, *before[b"."].owner)
            with store.mounted(store.new, upper) as merged:
                after = shown(merged)
            after[b"."] = before[b"."]  # The root shows the container's directory, made here.
            assert after == before
            with view(new) as layer, view(store.new) as stack:
                assert list(view_differences(layer, stack)) == []


@given(base=changes, init=changes, todo=changes)
def test_containers_show_the_same_and_share_nothing(
    workshop: Path, base: List[Change], init: List[Change], todo: List[Change]
) -> None:
    with tempfile.TemporaryDirectory(dir=workshop) as name:
        store = Store(Path(name))
        store.add_image_layer(base)
        lower = store.old[-1]
        first, second = store.directory("init-upper"), store.place / "upper"
        with store.mounted([lower], first) as merged:
            change(merged, init)
        subprocess.run(["cp", "-a", "--", first, second], check=True)
        with store.mounted([lower], second) as merged:
            change(merged, todo)
            before = shown(merged)
        inodes = {path.lstat().st_ino for path in [*first.rglob("*"), *second.rglob("*")]}

        store.convert([lower], [], own_copy=False)
        for new, old in (([first, lower], [lower]), ([second, lower], [first, lower])):
            predicted = store.predict(new, old, own_copy=True)
            assert store.convert(new, old, own_copy=True) == predicted

        made = [*store.new[0].rglob("*"), *store.new[1].rglob("*")]
        assert not inodes & {path.lstat().st_ino for path in made}
        with store.mounted(store.new[1:], store.new[0]) as merged:
            assert shown(merged) == before
        with view([second, lower]) as layer, view(store.new) as stack:
            assert list(view_differences(layer, stack)) == []
