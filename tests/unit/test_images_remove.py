"""What removing an image would take out of a store, by the rules of ``docker rmi``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List, NamedTuple, Set

import pytest

from ovl1.errors import Refused, WrongUsage
from ovl1.images.remove import Removal, plan_removal
from ovl1.model import ChainId, ImageId, LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.support.store_builder import StoreBuilder, write

DIGEST = "@sha256:" + "d" * 64
OTHER_DIGEST = "@sha256:" + "e" * 64


class Family(NamedTuple):
    """``base:1``, and ``app:1`` with two nameless steps in between; ``cousin:1`` on the base."""

    builder: StoreBuilder
    layers: List[ChainId]
    """Base, first and second step, top, and the cousin's."""
    images: List[ImageId]
    """The same."""

    def plan(self, *texts: str, **options: Any) -> Removal:
        return plan_removal(self.builder.open(), texts, **options)

    def went(self, removal: Removal) -> str:
        """The images and layers that go, as digits in the order of the above."""
        assert len(set(removal.images)) == len(removal.images)
        images = "".join(str(self.images.index(image_id)) for image_id in removal.images)
        chains = [record.chain_id for record in removal.layers]
        return f"{images}/{''.join(str(self.layers.index(chain_id)) for chain_id in chains)}"


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Family:
    builder = StoreBuilder(tmp_path / "docker", request.param)
    layers: List[ChainId] = []
    images: List[ImageId] = []
    for number, names in enumerate((["base:1"], [], [], ["app:1"])):
        layers.append(builder.layer({f"{number}": b"x"}, layers[-1] if layers else None))
        images.append(builder.image(layers[-1], *names, parent=images[-1] if images else None))
    layers.append(builder.layer({"cousin": b"x"}, layers[0]))
    images.append(builder.image(layers[-1], "cousin:1", parent=images[0]))
    return Family(builder, layers, images)


def test_with_its_last_name_goes_all_that_it_alone_needs(family: Family) -> None:
    removal = family.plan("app:1")
    assert removal.names == ("app:1",)
    # The steps, too; not the base, which has a name and another child.
    assert family.went(removal) == "321/321"
    assert removal.kept == ()


def test_without_pruning_the_steps_stay(family: Family) -> None:
    assert family.went(family.plan("app:1", prune=False)) == "3/3"


@pytest.mark.parametrize(
    "text", ["app", "app:1", "docker.io/library/app:1", "index.docker.io/app:1"]
)
def test_a_name_in_all_its_forms(family: Family, text: str) -> None:
    family.builder.image(family.layers[3], "app:latest")
    assert len(family.plan(text).names) == 1


def test_an_id_in_all_its_forms(family: Family) -> None:
    image_id = family.images[3]
    for text in (image_id, image_id.hex, image_id.hex[:12], image_id.hex[:6].upper()):
        removal = family.plan(text)
        assert (removal.names, family.went(removal)) == (("app:1",), "321/321")


def named(family: Family, number: int, *names: str) -> ImageId:
    """Another image of the same layers, with these names."""
    image_id = family.builder.image(family.layers[number], *names, author="another")
    family.images.append(image_id)
    return image_id


def test_one_of_several_names_only_goes_itself(family: Family) -> None:
    named(family, 3, "two:1", "two:2")
    removal = family.plan("two:1")
    assert removal.names == ("two:1",)
    assert family.went(removal) == "/"


def test_layers_that_another_image_has_stay(family: Family) -> None:
    named(family, 3, "two:1")
    assert family.went(family.plan("two:1")) == "5/"
    assert family.went(family.plan("app:1")) == "321/"
    assert family.went(family.plan("app:1", "two:1")) == "3215/321"


def test_an_id_with_several_names_needs_force(family: Family) -> None:
    image_id = named(family, 3, "two:1", "two:2")
    with pytest.raises(Refused, match="several names") as caught:
        family.plan(image_id.hex[:12])
    assert caught.value.details == "two:1\ntwo:2"
    removal = family.plan(image_id, force=True)
    assert (removal.names, family.went(removal)) == (("two:1", "two:2"), "5/")


def test_a_digest_goes_with_the_last_tag_of_its_repository(family: Family) -> None:
    named(family, 4, "two:1", "two:2", f"two{DIGEST}")
    assert family.plan("two:1").names == ("two:1",)
    removal = family.plan("two:1", "two:2")
    assert removal.names == ("two:1", "two:2", f"two{DIGEST}")
    assert family.went(removal) == "5/"


def test_one_tag_and_its_digest_are_one_name(family: Family) -> None:
    image_id = named(family, 4, "two:1", f"two{DIGEST}")
    assert set(family.plan(image_id).names) == {"two:1", f"two{DIGEST}"}


def test_a_digest_of_another_repository_is_another_name(family: Family) -> None:
    image_id = named(family, 4, "two:1", f"elsewhere/two{DIGEST}")
    with pytest.raises(Refused, match="several names"):
        family.plan(image_id)
    removal = family.plan("two:1")
    assert (removal.names, family.went(removal)) == (("two:1",), "/")


def test_a_digest_takes_no_other_digest_with_it(family: Family) -> None:
    named(family, 4, f"two{DIGEST}", f"two{OTHER_DIGEST}")
    removal = family.plan(f"two{DIGEST}")
    assert (removal.names, family.went(removal)) == ((f"two{DIGEST}",), "/")


def test_what_others_were_built_from_only_loses_its_name(family: Family) -> None:
    removal = family.plan("base:1")
    assert (removal.names, family.went(removal)) == (("base:1",), "/")
    (said,) = removal.kept
    assert said.startswith(f"{family.images[0].short} stays: ")
    with pytest.raises(Refused, match="other images were built from") as caught:
        family.plan(family.images[0], force=True)
    assert "cousin:1" in caught.value.details


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_parents_and_children_at_once(family: Family, order: Any) -> None:
    names = ["base:1", "app:1", "cousin:1"]
    removal = family.plan(*(names[number] for number in order))
    assert set(removal.names) == set(names)
    assert set(removal.images) == set(family.images)
    assert {record.chain_id for record in removal.layers} == set(family.layers)
    # What went after all does not stay.
    assert removal.kept == ()


def test_each_layer_comes_before_what_it_stands_on(family: Family) -> None:
    removal = family.plan("base:1", "app:1", "cousin:1")
    gone: Set[ChainId] = set()
    for record in removal.layers:
        assert record.chain_id not in gone
        assert record.parent not in gone
        gone.add(record.chain_id)


def test_the_same_image_twice(family: Family) -> None:
    once = family.plan("app:1")
    for texts in (("app:1", "app:1"), ("app:1", family.images[3]), (family.images[3], "app:1")):
        assert family.plan(*texts) == once


def test_a_container_holds_its_image(family: Family) -> None:
    family.builder.container(family.images[3], family.layers[3], "web")
    for text in ("app:1", family.images[3]):
        with pytest.raises(Refused, match="is used by containers") as caught:
            family.plan(text)
        assert caught.value.details == "web (stopped)"
        assert "app:1" in caught.value.brief
    # Its layers are what the container stands on.
    removal = family.plan("app:1", force=True)
    assert (removal.names, family.went(removal)) == (("app:1",), "321/")


def test_a_container_keeps_its_layers_also_when_its_own_are_lost(family: Family) -> None:
    container_id = family.builder.container(family.images[3], family.layers[3], "web")
    layout = family.builder.layout
    mount_id = LayerId((layout.mount(container_id) / "mount-id").read_text())
    for layer_id in (mount_id, LayerId(f"{mount_id}-init")):
        shutil.rmtree(layout.layer(layer_id))
    assert family.went(family.plan("app:1", force=True)) == "321/"


def test_a_container_does_not_hold_one_of_several_names(family: Family) -> None:
    image_id = named(family, 3, "two:1", "two:2")
    family.builder.container(image_id, family.layers[3], "web")
    assert family.plan("two:1").names == ("two:1",)
    with pytest.raises(Refused):
        family.plan("two:1", "two:2")


def test_a_step_that_a_container_uses_stays(family: Family) -> None:
    family.builder.container(family.images[2], family.layers[2], "debugging")
    assert family.went(family.plan("app:1")) == "3/3"


@pytest.mark.parametrize("text", ["no:1", "app:2", "f" * 64, f"app{DIGEST}", ""])
def test_what_is_not_there(family: Family, text: str) -> None:
    with pytest.raises(WrongUsage):
        family.plan(text)


def test_ambiguous_ids_are_listed(family: Family) -> None:
    for number in range(16):
        named(family, 0, f"many:{number}")
    with pytest.raises(WrongUsage, match="ambiguous") as caught:
        family.plan(next(digit for digit in "0123456789abcdef" if fits(family, digit) > 1))
    assert caught.value.details.count("sha256:") > 1


def fits(family: Family, digit: str) -> int:
    return sum(image_id.hex.startswith(digit) for image_id in family.images)


def test_a_name_of_an_image_that_is_lost(family: Family) -> None:
    family.builder.layout.image_config(family.images[4]).unlink()
    removal = family.plan("cousin:1")
    assert (removal.names, family.went(removal)) == (("cousin:1",), "/")


def test_an_image_whose_layer_is_lost_can_go(family: Family) -> None:
    shutil.rmtree(family.builder.layout.record(family.layers[3]))
    # On overlay2 the tree without a record still says what it stands on.
    is_known = family.builder.layout.driver == OVERLAY2
    assert family.went(family.plan("app:1")) == ("321/" if is_known else "321/21")


def test_what_buildkit_remembers_stays(family: Family) -> None:
    content = b"\0bolt\0" + family.layers[2].encode() + b"\xff" * 100
    write(family.builder.layout.data_root / "buildkit" / "snapshots.db", "")
    (family.builder.layout.data_root / "buildkit" / "snapshots.db").write_bytes(content)
    # What it stands on, too.
    assert family.went(family.plan("app:1")) == "321/3"


def test_what_a_tree_stands_on_stays(family: Family) -> None:
    """BuildKit's own layers have no record: only their trees say what is below them."""
    layout, below = family.builder.layout, family.builder.cache_ids[family.layers[3]]
    tree = LayerId("k" * 25)
    if layout.driver == OVERLAY:
        layout.upper(tree).mkdir(parents=True)
        write(layout.lower_id(tree), below)
        assert family.went(family.plan("app:1")) == "321/"
    else:
        layout.diff(tree).mkdir(parents=True)
        write(layout.link(tree), "K" * 26)
        (layout.links / ("K" * 26)).symlink_to(f"../{tree}/diff")
        write(layout.lower(tree), f"l/{layout.link(below).read_text()}")
        assert family.went(family.plan("app:1")) == "321/"


def test_nothing_was_changed(family: Family) -> None:
    before = sorted(family.builder.layout.data_root.rglob("*"))
    family.plan("app:1", "base:1", force=True)
    assert sorted(family.builder.layout.data_root.rglob("*")) == before
