"""Images of more layers than Docker takes get through a migration with their lowest ones merged."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Tuple

import pytest

from ovl1.images import layertar
from ovl1.layer.apply import apply_to_root
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.migrate.squash import cut
from ovl1.store.layout import OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.tree.compare import view_differences
from ovl1.tree.view import StackView
from tests.support.child import Ended, command, in_child
from tests.support.deep_stores import DIGEST, DeepStore, deep_store, names_of
from tests.support.manifest import Entry, differences, manifest

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

MOST_LAYERS = 4
"""What is too deep here; the real limit only takes longer."""
LAYERS = 6
MERGED = LAYERS + 2 - MOST_LAYERS + 1
"""Of the deepest image, and so of all that have its base."""


class Deep(NamedTuple):
    """A store to be migrated, and what it was."""

    root: Path
    store: DeepStore
    before: Dict[bytes, Entry]

    def do(self, *arguments: str, root: Path | None = None) -> Ended:
        return in_child(command(root or self.root, "migrate", *arguments))

    @property
    def new(self) -> Store:
        return Store.of(Layout(self.root, OVERLAY2))

    def is_as_before(self) -> None:
        assert differences(self.before, manifest(self.root)) == []


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deep]:
    """Each test leaves it as it was."""
    with loop_file_system("ext4", tmp_path_factory.mktemp("deep"), 64 << 20) as disk:
        root = disk / "docker"
        store = deep_store(root, LAYERS)
        yield Deep(root, store, manifest(root))


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MOST_LAYERS", MOST_LAYERS)


@pytest.fixture
def migrated(deep: Deep) -> Iterator[Deep]:
    ended = deep.do("run", "--squash")
    assert ended.code == 0, ended
    yield deep
    ended = deep.do("rollback")
    assert ended.code == 0, ended
    deep.is_as_before()


def test_not_in_place(deep: Deep) -> None:
    ended = deep.do("run", "--squash", "--in-place")
    assert ended.code == 2, ended
    assert "--in-place and --squash exclude each other" in ended.err
    deep.is_as_before()


def test_the_plan_lists_what_becomes_of_which(deep: Deep) -> None:
    ended = deep.do("plan", "--squash", "--json")
    assert ended.code == 0, ended
    values = json.loads(ended.out)
    found = {tuple(item["names"]): (item["layers"], item["merged"]) for item in values["squash"]}
    assert found == {
        ("deep:1",): (LAYERS, MERGED),
        ("deep:2",): (LAYERS, MERGED),
        ("beside:1",): (LAYERS, MERGED),
        ("deeper:1",): (LAYERS + 2, MERGED),
    }
    assert any(DIGEST in text for text in values["left"])
    assert f"the lowest {MERGED} become one" in deep.do("plan", "--squash").out
    deep.is_as_before()


def test_images_and_what_names_them(migrated: Deep) -> None:
    new = migrated.new
    assert new.errors == []
    names = names_of(new.layout)
    old = migrated.store.images
    assert set(names) == set(old)
    assert names["shallow:1"] == old["shallow:1"]
    depths = {name: len(new.image(name).diff_ids) for name in old}
    assert depths == {
        "deep:1": LAYERS - MERGED + 1,
        "deep:2": LAYERS - MERGED + 1,
        "beside:1": LAYERS - MERGED + 1,
        "deeper:1": MOST_LAYERS,
        "shallow:1": 3,
    }
    for name in old:
        image = new.image(name)
        steps = [step for step in image.history if not step.empty_layer]
        assert len(steps) == len(image.diff_ids)
    assert new.image("deeper:1").parent == names["deep:1"]
    assert new.images[new.containers[migrated.store.container].image_id or old["deep:1"]] == (
        new.image("deep:1")
    )
    tops = [new.image(name).top for name in old]
    records = {record.chain_id for top in tops if top for record in new.parts.layers.chain(top)}
    assert set(new.layers) == records
    # The squashed layer and what is above it is shared, and so are the lowest three.
    assert len(records) == MOST_LAYERS + 1 + 3


def test_what_was_proved(migrated: Deep) -> None:
    certificate = json.loads((migrated.root / ".ovl1/certificate.json").read_text())
    assert certificate["passed"]
    (made,) = certificate["squashed"]["layers"]
    assert made["merged"] == migrated.store.chain[:MERGED]
    assert certificate["squashed"]["images"].keys() == {
        migrated.store.images[name] for name in ("deep:1", "deep:2", "beside:1", "deeper:1")
    }
    new = migrated.new
    assert set(certificate["diff_ids"]) == set(new.layers)
    assert made["diff_id"] in certificate["diff_ids"].values()
    ended = migrated.do("verify", "--json")
    assert json.loads(ended.out)["diff_ids"] == len(new.layers)
    assert not json.loads(ended.out)["notes"]


def test_the_tar_of_the_new_layer_gives_the_old_tree(migrated: Deep, tmp_path: Path) -> None:
    """Down to hard links and attributes, but for fractions of a second."""
    new = migrated.new
    top = new.image("deep:1").top
    assert top is not None
    base = new.parts.layers.chain(top)[-1]
    tar = io.BytesIO(b"".join(layertar.chunks(new, base)))
    with Directory.open(tmp_path) as here:
        apply_to_root(tar, None, here)
    old = migrated.store.builder.cache_ids[migrated.store.chain[MERGED - 1]]
    root = migrated.root / "overlay.ovl1-old" / old / "root"
    with StackView([Directory.open(root)]) as before, StackView(
        [Directory.open(tmp_path)]
    ) as after:
        found = [
            (difference.path, difference.what) for difference in view_differences(before, after)
        ]
    assert not [what for path, what in found if path and what != "modification time"]
    assert (tmp_path / "data" / "kept").samefile(tmp_path / "data" / "again")


@pytest.mark.parametrize("options", [(), ("--quick", "--directory-times=image")], ids=len)
def test_without_the_old_store_it_is_whole(
    deep: Deep, tmp_path: Path, options: Tuple[str, ...]
) -> None:
    with loop_file_system("ext4", tmp_path, 64 << 20) as disk:
        root = disk / "docker"
        ended = deep.do("run", "--squash", "--to", str(root), *options)
        assert ended.code == 0, ended
        deep.is_as_before()
        for verb in ("verify", "purge"):
            ended = deep.do(verb, root=root)
            assert ended.code == 0, ended
        proof = in_child(command(root, "image", "verify", "--all"))
        assert proof.code == 0, proof
        new = Store.of(Layout(root, OVERLAY2))
        assert new.problems == ()
        assert new.containers[deep.store.container].image_id == new.image("deep:1").image_id
