"""What becomes of deep images: where they are cut, what they share, what else is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from ovl1.driver.convert import conversions
from ovl1.errors import Refused
from ovl1.formats import tarsplit
from ovl1.migrate.squash import cut, image, made
from ovl1.migrate.squash.cut import cuts
from ovl1.migrate.squash.renewed import Made, Renewed, bottoms, renewed
from ovl1.model import ChainId, DiffId, LayerId
from ovl1.store.whole import whole_part
from tests.support.store_builder import StoreBuilder, write_tree

MOST_LAYERS = 3


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MOST_LAYERS", MOST_LAYERS)


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    return StoreBuilder(tmp_path / "docker")


def chain_of(
    builder: StoreBuilder, count: int, top: Optional[ChainId] = None, name: str = "f"
) -> List[ChainId]:
    """More layers on `top`, lowest first."""
    chain: List[ChainId] = []
    for number in range(count):
        top = builder.layer({f"{name}{number}": b"%d" % number}, top)
        chain.append(top)
    return chain


def squashed(builder: StoreBuilder) -> Renewed:
    return renewed(whole_part(builder.open()), {})


def steps(*empty: bool) -> Dict[str, Any]:
    history = [{"created_by": str(n), "empty_layer": no} for n, no in enumerate(empty)]
    diff_ids = [f"sha256:{n:064x}" for n in range(sum(not no for no in empty))]
    return {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history, "x": "<&é"}


BASE = DiffId("sha256:" + "b" * 64)


def test_a_step_for_each_layer_is_left() -> None:
    old = steps(True, False, False, True, False, False)
    new = json.loads(image.renewed(old, 3, BASE))
    assert new["rootfs"]["diff_ids"] == [BASE, old["rootfs"]["diff_ids"][3]]
    assert [step["empty_layer"] for step in new["history"]] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    assert [step["created_by"] for step in new["history"]] == list("012345")
    assert new["x"] == old["x"]


@pytest.mark.parametrize("history", [None, [], [{"created_by": "one"}], "none"], ids=str)
def test_images_without_as_many_steps_as_layers(history: object) -> None:
    old = {**steps(False, False, False), "history": history}
    new = json.loads(image.renewed(old, 2, BASE))
    assert len(new["rootfs"]["diff_ids"]) == 2
    assert len(new["history"] or []) == len(old["history"] or [])


def test_what_has_one_base_is_cut_at_one_height(builder: StoreBuilder) -> None:
    long, other = chain_of(builder, 6), chain_of(builder, 4, name="other")
    beside = chain_of(builder, 1, long[3], name="beside")
    for top in (long[5], beside[0], other[3], long[2]):
        builder.image(top)
    store = builder.open()
    assert cuts(store) == {long[5]: 4, beside[0]: 4, other[3]: 2}
    assert [record.chain_id for record in bottoms(store)] == sorted([long[3], other[1]])


def test_one_much_deeper_than_the_other(builder: StoreBuilder) -> None:
    long = chain_of(builder, 9)
    builder.image(long[8], "long:1")
    builder.image(long[3], "short:1")
    assert cuts(builder.open()) == {long[8]: 7, long[3]: 4}
    found = squashed(builder).whole.store
    assert [len(found.image(name).diff_ids) for name in ("long:1", "short:1")] == [3, 1]


def test_what_others_need_stays(builder: StoreBuilder) -> None:
    """A shallow image, a branch without any image, and what BuildKit's records may name."""
    chain = chain_of(builder, 6)
    builder.image(chain[5], "deep:1")
    builder.image(chain[1], "shallow:1")
    branch = chain_of(builder, 1, chain[1], name="branch")
    snapshot = LayerId("0123456789abcdefghijklmno")
    write_tree(builder.layout.upper(snapshot), {"built": b"b"})
    builder.layout.lower_id(snapshot).write_text(builder.cache_ids[chain[3]])
    found = squashed(builder)
    old = {key for key in found.whole.store.layers if key in builder.cache_ids}
    assert old == {*chain[:4], *branch}
    (kept,) = [c for c in conversions(found.whole.store) if c.layer_id == snapshot]
    assert kept.lowers == tuple(builder.cache_ids[key] for key in reversed(chain[:4]))
    assert found.whole.left == ()


def test_too_deep_without_an_image_is_left_out(builder: StoreBuilder) -> None:
    chain = chain_of(builder, 5)
    builder.image(chain[1], "shallow:1")
    found = squashed(builder)
    assert set(found.whole.store.layers) == set(chain[:3])
    assert [text for text in found.whole.left if chain[4].hex in text]
    assert not found.images


def test_a_container_whose_image_is_gone(builder: StoreBuilder) -> None:
    chain = chain_of(builder, 5)
    image_id = builder.image(chain[4])
    container = builder.container(image_id, chain[4])
    builder.layout.image_config(image_id).unlink()
    assert [deep.of for deep in cut.deep(builder.open())] == [container]
    store = squashed(builder).whole.store
    (own,) = [c for c in conversions(store) if c.kind == "container"]
    assert len(own.lowers) == MOST_LAYERS + 1


def test_what_is_there_already_is_not_made_again(builder: StoreBuilder) -> None:
    chain = chain_of(builder, 5)
    builder.image(chain[4])
    same = chain_of(builder, 1, name="same")[0]
    builder.image(same)
    known = {chain[2]: Made(DiffId(same), 1, Path("none"))}
    with pytest.raises(Refused, match=same):
        renewed(whole_part(builder.open()), known)


@pytest.mark.needs("root")
def test_owners_in_a_user_namespace(tmp_path: Path) -> None:
    """On the disk they are the host's, in a tar the container's."""
    builder = StoreBuilder(tmp_path / "100000.200000")
    chain = chain_of(builder, 2)
    root = builder.layout.root(builder.cache_ids[chain[1]])
    os.chown(root / "f0", 100000, 200000)
    os.chown(root / "f1", 101000, 201000)
    store = builder.open()
    made.make(store, store.layers[chain[1]], tmp_path / chain[1].hex)
    with (tmp_path / chain[1].hex / "tar-split.json.gz").open("rb") as file:
        owners = {
            entry.name: (entry.uid, entry.gid) for entry in tarsplit.headers(tarsplit.read(file))
        }
    assert owners == {b"f0": (0, 0), b"f1": (1000, 1000)}


def test_the_tree_of_a_layer_that_buildkit_made(builder: StoreBuilder, tmp_path: Path) -> None:
    base = builder.layer({"both": b"old", "lower": b"l"})
    top = builder.layer({"both": b"new", "upper": b"u"}, base, buildkit=True)
    store = builder.open()
    (tmp_path / "made").mkdir()
    made.make(store, store.layers[top], tmp_path / "made" / top.hex)
    (known,) = made.known(tmp_path, tmp_path / "made").values()
    assert known.size == len(b"new" + b"l" + b"u")
    with known.tar_split.open("rb") as file:
        assert list(tarsplit.names(file)) == [b"both", b"lower", b"upper"]
