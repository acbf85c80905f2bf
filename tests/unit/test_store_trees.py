"""What lies in a driver's home, whole and broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovl1.errors import BrokenStore
from ovl1.model import LayerId
from ovl1.store.layout import OVERLAY2
from ovl1.store.trees import IMAGE, LEFTOVER, READ_WRITE, STACKED, read_trees
from tests.support.store_builder import StoreBuilder, small_store, whats, write, write_tree

ID = LayerId("f" * 64)


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    return StoreBuilder(tmp_path)


def test_kinds_of_overlay(builder: StoreBuilder) -> None:
    base = builder.layer({"a": b"a"})
    top = builder.layer({"b": b"b"}, base, buildkit=True)
    table = read_trees(builder.layout)
    assert not table.problems
    image, upper = (table.trees[builder.cache_ids[chain_id]] for chain_id in (base, top))
    assert (image.kind, image.lower, image.is_buildkit) == (IMAGE, None, False)
    assert (upper.kind, upper.lower, upper.is_buildkit) == (READ_WRITE, image.name, True)
    layout = builder.layout
    assert image.paths(layout) == [layout.root(image.layer_id)]
    assert upper.paths(layout) == [layout.upper(upper.layer_id), layout.root(image.layer_id)]


def test_root_wins_beside_upper(builder: StoreBuilder) -> None:
    for name in ("root", "upper", "work", "tmproot123"):
        (builder.layout.layer(ID) / name).mkdir(parents=True)
    write(builder.layout.lower_id(ID), "torn")
    table = read_trees(builder.layout)
    assert table.trees[ID].kind == IMAGE
    assert {(p.where.name, p.is_error) for p in table.problems} == {
        ("upper", False),
        ("lower-id", False),
        ("tmproot123", False),
    }


@pytest.mark.parametrize(
    ("names", "lower_id", "reason"),
    [
        ([], None, "it is empty"),
        (["tmproot123"], None, "its tar was being unpacked"),
        (["tmproot123", "upper", "work"], None, "its lower-id is missing"),
        (["upper", "work"], "", "lower-id is empty"),
        (["upper", "work"], "e" * 63, "its lower-id is torn: 63 bytes"),
        (["upper", "work"], "e" * 65, "its lower-id is torn: 65 bytes"),
        (["upper", "work"], "../" + "e" * 61, "its lower-id is torn: 64 bytes"),
        (["work"], "e" * 64, "its upper is missing"),
        (["merged"], None, "it has neither root nor upper"),
    ],
)
def test_leftovers(builder: StoreBuilder, names: str, lower_id: str, reason: str) -> None:
    builder.layout.layer(ID).mkdir()
    for name in names:
        (builder.layout.layer(ID) / name).mkdir()
    if lower_id is not None:
        write(builder.layout.lower_id(ID), lower_id)
    table = read_trees(builder.layout)
    tree = table.trees[ID]
    assert tree.kind == LEFTOVER
    assert reason in tree.reason
    assert [problem.is_error for problem in table.problems] == [False]
    with pytest.raises(BrokenStore):
        tree.paths(builder.layout)


@pytest.mark.parametrize("name", ["check-overlayfs-support1", "A" * 64, "\udcff\x1b[2J"])
def test_a_name_that_is_no_id(builder: StoreBuilder, name: str) -> None:
    (builder.layout.home / name / "root").mkdir(parents=True)
    tree = read_trees(builder.layout).trees[name]
    assert tree.kind == LEFTOVER
    assert "is not a layer id" in tree.reason
    with pytest.raises(BrokenStore):
        tree.layer_id  # noqa: B018


def test_links_instead_of_directories(builder: StoreBuilder, tmp_path: Path) -> None:
    builder.layout.layer(ID).mkdir()
    builder.layout.root(ID).symlink_to("/")
    other = LayerId("e" * 64)
    builder.layout.layer(other).symlink_to(tmp_path)
    table = read_trees(builder.layout)
    assert table.trees[ID].reason == "its root is not a directory"
    assert table.trees[other].reason == "it is not a directory"


def test_lost_and_found_is_nobodys(builder: StoreBuilder) -> None:
    (builder.layout.home / "lost+found").mkdir()
    assert not read_trees(builder.layout).trees


def test_white_space_in_lower_id_is_noted(builder: StoreBuilder) -> None:
    base = builder.cache_ids[builder.layer({})]
    write_tree(builder.layout.upper(ID), {})
    write(builder.layout.lower_id(ID), f"{base}\n")
    table = read_trees(builder.layout)
    assert table.trees[ID].lower == base
    assert [p.grade for p in table.problems] == ["note"]


def test_a_missing_lower(builder: StoreBuilder) -> None:
    write_tree(builder.layout.upper(ID), {})
    write(builder.layout.lower_id(ID), "d" * 64)
    (problem,) = read_trees(builder.layout).problems
    assert problem.is_error
    assert "the layer below it, dddddddddddd, is missing" in problem.what


def test_a_home_that_is_a_link(builder: StoreBuilder, tmp_path: Path) -> None:
    builder.layout.home.rename(tmp_path / "elsewhere")
    builder.layout.home.symlink_to(tmp_path / "elsewhere")
    assert "links are not followed" in whats(read_trees(builder.layout).problems)[0]


class TestOverlay2:
    @pytest.fixture
    def builder(self, tmp_path: Path) -> StoreBuilder:
        return small_store(tmp_path, OVERLAY2)

    def test_stacks(self, builder: StoreBuilder) -> None:
        table = read_trees(builder.layout)
        assert not table.problems
        assert {tree.kind for tree in table.trees.values()} == {STACKED}
        base, top = builder.cache_ids.values()
        assert table.trees[top].lowers == (base,)
        (mount,) = builder.open().mounts.values()
        assert table.trees[mount.mount_id].lowers == (mount.init_id, top, base)
        assert table.trees[top].paths(builder.layout) == [
            builder.layout.diff(top),
            builder.layout.diff(base),
        ]

    def break_link(self, builder: StoreBuilder, target: str) -> str:
        base = next(iter(builder.cache_ids.values()))
        link = builder.layout.links / builder.layout.link(base).read_text()
        link.unlink()
        os.symlink(target, link)
        return base

    @pytest.mark.parametrize(
        ("target", "what"),
        [
            ("../" + "9" * 64 + "/diff", "it dangles"),
            ("/etc", "it points elsewhere: '/etc'"),
            ("../../../etc/diff", "it points elsewhere"),
            ("../../diff", "'..' is not a layer id"),
            ("../x/diff", "'x' is not a layer id"),
        ],
    )
    def test_a_bad_link(self, builder: StoreBuilder, target: str, what: str) -> None:
        base = self.break_link(builder, target)
        table = read_trees(builder.layout)
        assert table.trees[base].kind == LEFTOVER
        assert "is not in l/" in table.trees[base].reason
        # What stands on it cannot be followed either.
        assert {tree.kind for tree in table.trees.values()} == {LEFTOVER}
        assert any(what in found for found in whats(table.problems))

    def test_a_link_to_another_layer(self, builder: StoreBuilder) -> None:
        base, top = builder.cache_ids.values()
        self.break_link(builder, f"../{top}/diff")
        assert "is not in l/" in read_trees(builder.layout).trees[base].reason

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("link", "", "link is empty"),
            ("link", "../../etc", "its short name '../../etc' is not in l/"),
            ("lower", "", "lower is empty"),
            ("lower", "/etc", "its lower names '/etc', which is not below l/"),
            ("lower", "l/../x", "its lower names 'l/../x', which leads nowhere"),
        ],
    )
    def test_a_bad_file(self, builder: StoreBuilder, name: str, content: str, reason: str) -> None:
        top = list(builder.cache_ids.values())[1]
        (builder.layout.layer(top) / name).write_text(content)
        tree = read_trees(builder.layout).trees[top]
        assert tree.kind == LEFTOVER
        assert reason in tree.reason

    def test_no_diff(self, builder: StoreBuilder) -> None:
        (builder.layout.layer(ID)).mkdir()
        assert read_trees(builder.layout).trees[ID].reason == "it has no diff directory"

    def test_a_second_name_is_a_note(self, builder: StoreBuilder) -> None:
        top = list(builder.cache_ids.values())[1]
        os.symlink(f"../{top}/diff", builder.layout.links / ("Z" * 26))
        (problem,) = read_trees(builder.layout).problems
        assert not problem.is_error
        assert "another short name" in problem.what

    def test_something_else_in_l(self, builder: StoreBuilder) -> None:
        (builder.layout.links / "file").touch()
        assert "not one of overlay2's links" in whats(read_trees(builder.layout).problems)[0]

    def test_no_l(self, builder: StoreBuilder) -> None:
        builder.layout.links.rename(builder.layout.home.parent / "gone")
        assert "l is missing" in whats(read_trees(builder.layout).problems)
