"""Images and their names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ovl1.errors import WrongUsage
from ovl1.model import ImageId
from ovl1.store.imagedb import read_images
from ovl1.store.references import familiar, read_references, split_name
from tests.support.store_builder import StoreBuilder, small_store, whats, write


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    return StoreBuilder(tmp_path)


def raw_image(builder: StoreBuilder, content: bytes) -> ImageId:
    image_id = ImageId("sha256:" + hashlib.sha256(content).hexdigest())
    builder.layout.image_config(image_id).write_bytes(content)
    return image_id


def test_an_image_is_read(tmp_path: Path) -> None:
    builder = small_store(tmp_path)
    table = read_images(builder.layout)
    assert not table.problems
    (base,) = table.children()[None]
    (image,) = table.children()[base.image_id]
    assert len(image.diff_ids) == 2
    assert image.top in builder.cache_ids
    assert (image.architecture, image.os, image.author) == ("amd64", "linux", "")
    assert [entry.created_by for entry in image.history] == ["ADD base", "RUN top"]
    assert image.config["rootfs"]["diff_ids"] == list(image.diff_ids)


def test_an_image_without_layers_has_no_top(builder: StoreBuilder) -> None:
    image_id = builder.image(None)
    assert read_images(builder.layout).images[image_id].top is None


def test_bytes_that_are_no_utf8_survive(builder: StoreBuilder) -> None:
    image_id = raw_image(builder, b'{"author": "\xff"}')
    assert read_images(builder.layout).images[image_id].author == "\udcff"


def test_odd_types_are_taken_for_absent(builder: StoreBuilder) -> None:
    content = b'{"author": 5, "history": [1, {"created_by": []}], "rootfs": null, "os": null}'
    image_id = raw_image(builder, content)
    image = read_images(builder.layout).images[image_id]
    assert (image.author, image.os, image.diff_ids) == ("", "", ())
    assert [entry.created_by for entry in image.history] == [""]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"rootfs": {"diff_ids": "x"}}', "no readable list of layers"),
        (b'{"rootfs": {"diff_ids": [1]}}', "no readable list of layers"),
        (b'{"rootfs": {"diff_ids": ["../x"]}}', "'../x' is not a sha256 digest"),
    ],
)
def test_a_broken_configuration(builder: StoreBuilder, content: bytes, what: str) -> None:
    raw_image(builder, content)
    table = read_images(builder.layout)
    assert not table.images
    assert what in whats(table.problems)[0]


def test_a_changed_configuration_is_no_image(builder: StoreBuilder) -> None:
    path = builder.layout.image_config(builder.image(None))
    path.write_text(path.read_text() + " ")
    table = read_images(builder.layout)
    assert not table.images
    assert "does not hash to its id" in whats(table.problems)[0]


def test_a_broken_parent_costs_only_the_parent(builder: StoreBuilder) -> None:
    image_id = builder.image(None)
    write(builder.layout.image_metadatum(image_id) / "parent", "")
    table = read_images(builder.layout)
    assert table.images[image_id].parent is None
    assert "parent is empty" in whats(table.problems)[0]


def test_a_half_written_file_is_a_note(builder: StoreBuilder) -> None:
    write(builder.layout.image_configs / ".tmp-abc123", "{")
    (problem,) = read_images(builder.layout).problems
    assert not problem.is_error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", "app:latest"),
        ("app:1", "app:1"),
        ("docker.io/app", "app:latest"),
        ("docker.io/library/app:1", "app:1"),
        ("index.docker.io/library/app", "app:latest"),
        ("library/app", "app:latest"),
        ("library/app/x", "library/app/x:latest"),
        ("docker.io/team/app", "team/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("localhost:5000/library/app", "localhost:5000/library/app:latest"),
        ("app:1@sha256:00", "app@sha256:00"),
    ],
)
def test_familiar_names(text: str, expected: str) -> None:
    assert familiar(text) == expected


def test_split_name() -> None:
    assert split_name("localhost:5000/app") == ("localhost:5000/app", "", "")
    assert split_name("h:1/a:2@sha256:3") == ("h:1/a", "2", "sha256:3")


def test_names_resolve(builder: StoreBuilder) -> None:
    digest = f"reg:5000/app@sha256:{'d' * 64}"
    one = builder.image(None, "app:1", "app:latest", digest, author="one")
    two = builder.image(None, "app:2", author="two")
    references = read_references(builder.layout)
    assert references.tags_of(one) == ["app:1", "app:latest"]
    assert references.digests_of(one) == [digest]
    images = [one, two]
    for text in ("app", "docker.io/library/app:1", digest, one, one.hex, one.short, one.hex[:5]):
        assert references.resolve(text, images) == one
    assert references.resolve("app:2", images) == two


def test_a_name_wins_over_an_id(builder: StoreBuilder) -> None:
    one = builder.image(None, author="one")
    named = builder.image(None, f"{one.hex[:6]}:latest", author="named")
    assert read_references(builder.layout).resolve(one.hex[:6], [one, named]) == named


def test_unknown_and_ambiguous_names(builder: StoreBuilder) -> None:
    builder.image(None, "app:1")
    references = read_references(builder.layout)
    with pytest.raises(WrongUsage, match="no image 'app:3'") as caught:
        references.resolve("app:3", [])
    assert "app:1" in caught.value.details
    similar = [ImageId(f"sha256:ab{digit * 62}") for digit in "12"]
    with pytest.raises(WrongUsage, match="ambiguous") as caught:
        references.resolve("ab", similar)
    assert caught.value.details.split() == similar
    with pytest.raises(WrongUsage, match="no image 'cd'"):
        references.resolve("cd", similar)


def test_a_long_list_of_candidates_is_cut() -> None:
    from ovl1.store.lookup import pick

    with pytest.raises(WrongUsage) as caught:
        pick("a", ((f"a{number:02}", number) for number in range(30)), "image")
    assert caught.value.details.endswith("... and 20 more")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is empty"),
        ('{"Repositories": []}', None),
        ('{"Repositories": [1]}', "no readable list of names"),
        ('{"Repositories": {"app": 1}}', "names of a repository are not readable"),
        ('{"Repositories": {"app": {"app:1": "../x"}}}', "'app:1': '../x' is not a sha256 digest"),
        ('{"Repositories": {"app": {"app:1": 7}}}', "'app:1': '7' is not a sha256 digest"),
    ],
)
def test_broken_repositories(builder: StoreBuilder, content: str, what: str) -> None:
    builder.layout.repositories.write_text(content)
    references = read_references(builder.layout)
    assert not references.tags
    assert [what in found for found in whats(references.problems)] == ([True] if what else [])


def test_no_repositories_is_a_note(builder: StoreBuilder) -> None:
    builder.layout.repositories.unlink()
    assert [p.grade for p in read_references(builder.layout).problems] == ["note"]


def test_one_broken_name_does_not_cost_the_others(builder: StoreBuilder) -> None:
    image_id = builder.image(None, "app:1")
    content = json.loads(builder.layout.repositories.read_text())
    content["Repositories"]["app"]["app:0"] = "gone"
    builder.layout.repositories.write_text(json.dumps(content))
    assert read_references(builder.layout).tags == {"app:1": image_id}
