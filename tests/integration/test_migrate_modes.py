"""Each way to migrate, with a store that has something of everything: the kernel shows the same.

And what is made takes the inodes that were foretold.

Of everything: layers of BuildKit that are uppers, one made over the other, containers made over
their init layers' uppers, tars known and unknown, also as the data-root of a user namespace.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY2, Layout
from tests.support.child import command, in_child
from tests.support.inplace_stores import varied_store
from tests.support.stores_shown import shown_by_overlay, shown_by_overlay2
from tests.support.used import plainly_counted, whiteouts

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

OWNER = 100000
MODES = {"side by side": [], "in place": ["--in-place"], "elsewhere": ["--to"]}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path, 96 << 20, inodes=16384) as mounted:
        yield mounted


def give_to(root: Path, owner: int) -> None:
    for directory, folders, files in os.walk(root):
        for entry in (*folders, *files):
            os.chown(Path(directory, entry), owner, owner, follow_symlinks=False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["docker", f"{OWNER}.{OWNER}"])
def test_the_kernel_shows_the_same(disk: Path, mode: str, name: str, full: bool) -> None:
    if name != "docker" and not (full or mode == "in place"):
        pytest.skip("in the long form, and by other tests")
    root, at = disk / name, disk / "at"
    layers = len(varied_store(root).store.trees)
    if name != "docker":
        give_to(root, OWNER)
    before = shown_by_overlay(root, at)
    assert len(before) == layers
    target = disk / "new" / name if mode == "elsewhere" else root
    target.parent.mkdir(exist_ok=True)
    options = [*MODES[mode], *([str(target)] if target != root else [])]
    planned = in_child(command(root, "migrate", "plan", "--json", *options))
    assert planned.code == 0, planned
    foretold = json.loads(planned.out)["inodes"]["after_purge"]
    ended = in_child(command(root, "migrate", "run", *options))
    assert ended.code == 0, ended
    assert shown_by_overlay2(target, at) == before
    for verb in ("verify", "purge"):
        ended = in_child(command(target, "migrate", verb))
        assert ended.code == 0, ended
    assert shown_by_overlay2(target, at) == before
    taken = plainly_counted(Layout(target, OVERLAY2).home)
    hidden = whiteouts(Layout(target, OVERLAY2).home)
    if mode == "in place":
        # What a container has hidden, and its work directory, stay as they are.
        assert len(set(hidden)) < len(hidden)
    else:
        assert taken == foretold
        assert len(hidden) > len(set(hidden)) == 1
