"""Containers that ran on newer kernels: migrated, they show the same on a kernel without that."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import ContextManager, Iterator, Sequence

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.model import LayerId
from ovl1.store.layout import Layout
from ovl1.tree.marks import METACOPY, REDIRECT
from tests.support.manifest import differences, manifest
from tests.support.newer_kernels import ON, Shown, churn, mounted, shown, shown_without
from tests.support.obstacles import MIB, Place

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "metacopy")

WITH_INDEX = ("redirect_dir=off", "metacopy=off", "index=on")
DONE, REFUSED, NOT_POSSIBLE = 0, 3, 5


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with new_place(tmp_path) as made:
        yield made


@contextlib.contextmanager
def new_place(tmp_path: Path) -> Iterator[Place]:
    with loop_file_system("ext4", tmp_path, 64 * MIB, inodes=4096) as at:
        (at / "docker").mkdir(mode=0o710)
        yield Place(at / "docker")


def container(place: Place, options: Sequence[str] = ON) -> ContextManager[Path]:
    """The container, mounted as a newer kernel does."""
    layout, rw = place.layout, place.rw
    lower = layout.root(LayerId(layout.lower_id(rw).read_text()))
    return mounted([lower], layout.upper(rw), layout.work(rw), place.root.parent / "at", options)


def after(root: Path, rw: LayerId) -> Shown:
    """What the container of a migrated store shows on an old kernel."""
    layout = Layout(root, "overlay2")
    lowers = [layout.home / short for short in layout.lower(rw).read_text().split(":")]
    layers = [layout.diff(rw), *(path.resolve() for path in lowers)]
    return shown_without(layers, root.parent / "at")


def marks(place: Place) -> int:
    return sum(
        not {METACOPY, REDIRECT}.isdisjoint(os.listxattr(path, follow_symlinks=False))
        for path in place.layout.upper(place.rw).rglob("*")
    )


def test_containers_of_newer_kernels(tmp_path: Path, full: bool) -> None:
    """Beside the old store and in another data-root, whatever was renamed and changed."""
    marked = 0
    for seed in range(30 if full else 2):
        with new_place(tmp_path) as place:
            with container(place) as at:
                done = churn(at, seed, 30)
                expected = shown(at)
            marked += marks(place)
            before = manifest(place.root)
            rw, copy = place.rw, place.root.parent / "copy"
            ended = place.migrate("run", "--to", str(copy))
            assert ended.code == DONE, (seed, done, ended)
            assert after(copy, rw) == expected, (seed, done)
            assert place.migrate("run").code == DONE
            assert after(place.root, rw) == expected, (seed, done)
            assert place.migrate("rollback").code == DONE
            assert differences(before, manifest(place.root)) == []
    assert marked > 2, "there was something to resolve"


def test_what_was_renamed_holds_what_it_held(place: Place) -> None:
    with container(place) as at:
        (at / "bin").rename(at / "sbin")
        (at / "sbin" / "tool").chmod(0o700)
        (at / "bin").mkdir()
        (at / "bin" / "own").write_text("own")
    assert marks(place) == 2
    rw = place.rw
    plan = place.migrate("plan", "--json")
    assert plan.code == DONE, plan
    assert place.migrate("run").code == DONE
    diff = Layout(place.root, "overlay2").diff(rw)
    assert sorted(path.name for path in (diff / "bin").iterdir()) == ["own"]
    assert (diff / "sbin" / "tool").read_bytes() == b"tool" * 1000
    assert (diff / "sbin" / "tool").stat().st_mode & 0o7777 == 0o700
    assert (diff / "sbin" / "again").read_bytes() == b"tool" * 1000


def test_in_place_they_are_refused(place: Place) -> None:
    with container(place) as at:
        (at / "bin").rename(at / "sbin")
    before = manifest(place.root)
    ended = place.migrate("run", "--in-place")
    assert ended.code not in (DONE, 4), ended
    assert "Migrate side by side" in ended.err
    assert differences(before, manifest(place.root)) == []


def test_what_only_an_index_shows_is_refused(place: Place) -> None:
    with container(place, WITH_INDEX) as at:
        (at / "bin" / "tool").write_text("changed")
        assert (at / "bin" / "again").read_text() == "changed"
    before = manifest(place.root)
    for verb in ("plan", "run"):
        ended = place.migrate(verb)
        assert ended.code not in (DONE, 4), ended
        assert "bin/again" in ended.err
        assert differences(before, manifest(place.root)) == []
    with container(place, WITH_INDEX) as at:
        (at / "bin" / "again").chmod(0o700)
        expected = shown(at)
    rw = place.rw
    ended = place.migrate("run")
    assert ended.code == DONE, ended
    assert after(place.root, rw) == expected
