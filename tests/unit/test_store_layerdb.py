"""Layer records: whole ones, and every way in which they break."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

import pytest

from ovl1.errors import BrokenStore, WrongUsage
from ovl1.model import ChainId, DiffId
from ovl1.store.layerdb import LayerTable, read_layers
from tests.support.store_builder import StoreBuilder, whats, write


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    return StoreBuilder(tmp_path)


@pytest.fixture
def chain(builder: StoreBuilder) -> List[ChainId]:
    """Three layers, base first."""
    base = builder.layer({"a": b"a"})
    middle = builder.layer({"b": b"bb"}, base)
    return [base, middle, builder.layer({"c": b"ccc"}, middle)]


def read(builder: StoreBuilder) -> LayerTable:
    return read_layers(builder.layout)


def test_a_chain_is_read(builder: StoreBuilder, chain: List[ChainId]) -> None:
    table = read(builder)
    assert not table.problems
    assert [record.chain_id for record in table.chain(chain[2])] == chain[::-1]
    assert [record.size for record in table.chain(chain[2])] == [3, 2, 1]
    assert [table.depth(chain_id) for chain_id in chain] == [1, 2, 3]
    children = table.children()
    assert [record.chain_id for record in children[None]] == [chain[0]]
    assert [record.chain_id for record in children[chain[1]]] == [chain[2]]
    assert table.layers[chain[0]].tar_split == builder.layout.tar_split(chain[0])


def test_ids_are_trimmed_as_docker_does(builder: StoreBuilder, chain: List[ChainId]) -> None:
    path = builder.layout.record(chain[0]) / "cache-id"
    path.write_text(f" {path.read_text()}\n")
    table = read(builder)
    assert table.layers[chain[0]].cache_id == builder.cache_ids[chain[0]]
    assert not table.problems


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("diff", None, "diff is missing"),
        ("diff", "", "diff is empty"),
        ("diff", "sha256:beef", "'sha256:beef' is not a sha256 digest"),
        ("size", None, "size is missing"),
        ("size", "", "size is empty"),
        ("size", "-1", "'-1' is not a size"),
        ("size", "٣", "'٣' is not a size"),
        ("size", "9" * 5000, f"{'9' * 40!r} is not a size"),
        ("cache-id", None, "cache-id is missing"),
        ("cache-id", "", "cache-id is empty"),
        ("cache-id", "../../../etc", "'../../../etc' is not a layer id"),
        ("cache-id", "a" * 63, f"{'a' * 63!r} is not a layer id"),
        ("cache-id", "\udcff" * 64, "is not a layer id"),
        ("parent", "", "parent is empty"),
        ("parent", "base", "'base' is not a sha256 digest"),
    ],
)
def test_a_broken_file_costs_its_layer_and_those_above(
    builder: StoreBuilder, chain: List[ChainId], name: str, content: str, what: str
) -> None:
    path = builder.layout.record(chain[1]) / name
    path.unlink()
    if content is not None:
        write(path, content)
    table = read(builder)
    assert list(table.layers) == [chain[0]]
    found = {problem.where: problem for problem in table.problems}
    assert what in found[path.parent].what
    assert found[path.parent].is_error
    above = found[builder.layout.record(chain[2])]
    assert "missing or broken" in above.what
    with pytest.raises(BrokenStore):
        table.chain(chain[2])


def test_what_a_broken_record_names_is_claimed(builder: StoreBuilder, chain: List[ChainId]) -> None:
    (builder.layout.record(chain[2]) / "size").unlink()
    table = read(builder)
    assert chain[2] not in table.layers
    assert builder.cache_ids[chain[2]] in table.claimed


@pytest.mark.parametrize("empty", [True, False])
def test_without_tar_split_a_layer_is_usable(
    builder: StoreBuilder, chain: List[ChainId], empty: bool
) -> None:
    path = builder.layout.tar_split(chain[1])
    path.unlink()
    if empty:
        path.touch()
    table = read(builder)
    assert table.layers[chain[1]].tar_split is None
    assert len(table.layers) == 3
    (problem,) = table.problems
    assert problem.where == path
    assert "cannot be written again" in problem.what
    assert problem.is_error == empty


def test_a_chain_id_must_follow_from_the_record(
    builder: StoreBuilder, chain: List[ChainId]
) -> None:
    (builder.layout.record(chain[1]) / "parent").unlink()
    table = read(builder)
    assert list(table.layers) == [chain[0]]
    assert "is not the chain id" in " ".join(whats(table.problems))


def test_a_cycle_is_found(builder: StoreBuilder) -> None:
    ids = [ChainId("sha256:" + digit * 64) for digit in "ab"]
    for this, other in (ids, ids[::-1]):
        record = builder.layout.record(this)
        write(record / "diff", DiffId("sha256:" + "c" * 64))
        write(record / "cache-id", "d" * 64)
        write(record / "size", "1")
        write(record / "parent", other)
    table = read(builder)
    assert not table.layers
    assert len(table.problems) == 2


def test_two_layers_with_one_tree(builder: StoreBuilder, chain: List[ChainId]) -> None:
    write(builder.layout.record(chain[2]) / "cache-id", builder.cache_ids[chain[0]])
    assert any("is also that of layer" in what for what in whats(read(builder).problems))


def test_interrupted_removals_and_writes_are_notes(
    builder: StoreBuilder, chain: List[ChainId]
) -> None:
    record = builder.layout.record(chain[2])
    record.rename(f"{record}-{'e' * 64}-removing")
    (builder.layout.staging / "write-set-123").mkdir(parents=True)
    table = read(builder)
    assert [problem.grade for problem in table.problems] == ["note", "note"]
    assert builder.cache_ids[chain[2]] in table.claimed


@pytest.mark.parametrize("name", ["not-an-id", "a" * 63, "\udcff"])
def test_a_record_must_be_named_by_a_chain_id(builder: StoreBuilder, name: str) -> None:
    (builder.layout.layers / name).mkdir()
    table = read(builder)
    assert "is not a sha256 digest" in whats(table.problems)[0]


def test_links_are_not_followed(
    builder: StoreBuilder, chain: List[ChainId], tmp_path: Path
) -> None:
    record = builder.layout.record(chain[2])
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / "elsewhere")
    diff = builder.layout.record(chain[1]) / "diff"
    diff.rename(tmp_path / "diff")
    diff.symlink_to(tmp_path / "diff")
    table = read(builder)
    assert list(table.layers) == [chain[0]]
    assert sum("links are not followed" in what for what in whats(table.problems)) == 2


def test_a_fifo_does_not_block(builder: StoreBuilder, chain: List[ChainId]) -> None:
    size = builder.layout.record(chain[2]) / "size"
    size.unlink()
    os.mkfifo(size)
    assert "size is not a regular file" in whats(read(builder).problems)


def test_no_layer_database_is_a_problem(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path)
    builder.layout.layers.rmdir()
    assert whats(read(builder).problems) == ["image/overlay/layerdb/sha256 is missing"]


def test_finding_by_any_id(builder: StoreBuilder, chain: List[ChainId]) -> None:
    table = read(builder)
    record = table.layers[chain[1]]
    for name in (record.chain_id, record.diff_id, record.cache_id):
        bare = name.replace("sha256:", "")
        for text in (name, bare, bare[:12], bare[:12].upper()):
            assert table.find(text) is record


def test_an_ambiguous_prefix_lists_the_candidates(
    builder: StoreBuilder, chain: List[ChainId]
) -> None:
    same = builder.layer({"c": b"ccc"}, chain[0])
    table = read(builder)
    assert table.layers[same].diff_id == table.layers[chain[2]].diff_id
    with pytest.raises(WrongUsage, match="ambiguous") as caught:
        table.find(table.layers[same].diff_id)
    assert same.short in caught.value.details
    assert chain[2].short in caught.value.details


@pytest.mark.parametrize("text", ["", "sha256:", "zzz", "../x"])
def test_an_unknown_prefix(builder: StoreBuilder, chain: List[ChainId], text: str) -> None:
    with pytest.raises(WrongUsage, match="there is no layer"):
        read(builder).find(text)
