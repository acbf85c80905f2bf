"""A directory with an id for a name is whole; everything else can be told to be a leftover."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, List, Tuple

import pytest

from ovl1.driver import aside
from ovl1.errors import BrokenStore
from ovl1.linux import durable
from ovl1.model import LayerId

ID = LayerId("a" * 64)
OWNER = (os.geteuid(), os.getegid())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{ID}-creating", ID),
        (f"{ID}-removing", ID),
        (f"{ID}-init-removing", f"{ID}-init"),
        (ID, None),
        ("x-removing", None),
        ("-removing", None),
        (f"{ID}-removing-removing", None),
        (f" {ID}-removing", None),
        (f"{ID}-other", None),
    ],
)
def test_leftovers_are_told_by_their_names(name: str, expected: object) -> None:
    assert aside.leftover_of(name) == expected


@pytest.mark.parametrize("bad", ["", "..", "a/b", f"{ID}\n", f" {ID}", f"{ID}-removing"])
def test_what_is_no_id(bad: str) -> None:
    assert aside.checked(ID) == ID
    with pytest.raises(BrokenStore):
        aside.checked(bad)


@pytest.mark.parametrize("sync", [False, True])
def test_placed_in_one_step(tmp_path: Path, sync: bool) -> None:
    place = tmp_path / ID
    (tmp_path / f"{ID}-creating" / "old").mkdir(parents=True)
    with aside.placed(place, group=OWNER[1], sync=sync) as staging:
        assert not place.exists()
        (staging / "file").write_text("text")
        (staging / "directory").mkdir()
    assert sorted(os.listdir(place)) == ["directory", "file"]
    assert place.stat().st_mode & 0o7777 == 0o710
    assert os.listdir(tmp_path) == [ID]


def fail_after(action: Callable[[], object]) -> None:
    action()
    raise KeyError


def test_nothing_is_placed_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), aside.placed(tmp_path / ID, group=OWNER[1], sync=True) as staging:
        fail_after((staging / "file").touch)
    assert os.listdir(tmp_path) == []


def test_a_layer_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / ID / "precious").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"), aside.placed(
        tmp_path / ID, group=OWNER[1], sync=False
    ):
        pass
    assert os.listdir(tmp_path) == [ID]
    assert os.listdir(tmp_path / ID) == ["precious"]


@pytest.mark.parametrize("there", [False, True], ids=["missing", "empty"])
def test_replaced_in_one_step(tmp_path: Path, there: bool) -> None:
    tree = tmp_path / "root"
    (tmp_path / "tmproot123" / "of before").mkdir(parents=True)
    if there:
        tree.mkdir()
    with aside.replaced(tree, owner=OWNER, sync=True) as directory:
        directory.mkdir(b"new")
        assert tree.exists() == there
    assert os.listdir(tree) == ["new"]
    assert tree.stat().st_mode & 0o7777 == 0o755
    assert os.listdir(tmp_path) == ["root"]


def test_nothing_is_replaced_after_a_failure(tmp_path: Path) -> None:
    tree = tmp_path / "root"
    with pytest.raises(KeyError), aside.replaced(tree, owner=OWNER, sync=True) as directory:
        fail_after(lambda: directory.mkdir(b"new"))
    assert os.listdir(tmp_path) == []
    (tree / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"), aside.replaced(tree, owner=OWNER, sync=False):
        pass
    assert os.listdir(tree) == ["full"]
    assert os.listdir(tmp_path) == ["root"]


def test_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree's content, then its name, then that the name stays."""
    done: List[Tuple[str, str]] = []

    def watch(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def watched(path: Path, *more: Path) -> None:
            done.append((name, path.name[:7]))
            real(path, *more)

        monkeypatch.setattr(owner, name, watched)

    for name in ("sync_file_system", "sync_directory"):
        watch(durable, name)
    watch(os, "rename")
    with aside.replaced(tmp_path / "root", owner=OWNER, sync=True):
        pass
    assert done == [
        ("sync_file_system", "tmproot"),
        ("rename", "tmproot"),
        ("sync_directory", tmp_path.name[:7]),
    ]
    del done[:]
    with aside.replaced(tmp_path / "other", owner=OWNER, sync=False):
        pass
    assert done == [("rename", "tmproot")]
