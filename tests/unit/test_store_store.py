"""The whole store: what its parts say about each other, and which stores there are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict

import pytest

from ovl1.errors import BrokenStore, OvlError, Refused, WrongUsage
from ovl1.model import LayerId
from ovl1.store.discovery import DRIVERS, discover
from ovl1.store.engines import IGNORES, REFUSES, USES, Verdict, engine_verdicts
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.store import Store
from tests.support.store_builder import StoreBuilder, small_store, whats, write, write_tree


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def builder(request: pytest.FixtureRequest, tmp_path: Path) -> StoreBuilder:
    return small_store(tmp_path, request.param)


def error(builder: StoreBuilder) -> str:
    """What the only error says."""
    (problem,) = builder.open().errors
    return problem.what


def test_a_whole_store(builder: StoreBuilder) -> None:
    store = builder.open()
    assert not store.problems
    assert not store.orphans()
    image = store.image("app")
    assert store.image(image.image_id.short) == image
    assert [record.chain_id for record in store.chain(image)] == list(builder.cache_ids)[::-1]
    assert store.size(image) == 4 + 3 + 4000
    assert image.top
    assert store.layer(builder.cache_ids[image.top][:8]).chain_id == image.top
    assert [container.name for container in store.containers.values()] == ["c"]


def test_a_data_root_may_be_a_link(builder: StoreBuilder, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(builder.layout.data_root)
    assert Store.open(link, builder.layout.driver).layout == builder.layout


def test_a_layer_without_tree(builder: StoreBuilder) -> None:
    cache_id = list(builder.cache_ids.values())[1]
    shutil.rmtree(builder.layout.layer(cache_id))
    assert f"its tree {cache_id.short} is missing" in whats(builder.open().errors)


def test_an_image_without_layers(builder: StoreBuilder) -> None:
    store = builder.open()
    image = store.image("app")
    assert image.top
    shutil.rmtree(builder.layout.record(image.top))
    store = builder.open()
    assert whats(store.errors) == [f"its top layer {image.top.short} is missing or broken"] * 2
    assert {p.where for p in store.errors} == {
        builder.layout.image_config(image.image_id),
        builder.layout.mounts / next(iter(store.mounts)),
    }
    with pytest.raises(BrokenStore):
        store.size(image)
    # No record names its tree any more, but by its own account the container stands on it.
    assert not store.orphans()


def test_a_name_without_image(builder: StoreBuilder) -> None:
    image = builder.open().image("base:1")
    builder.layout.image_config(image.image_id).unlink()
    store = builder.open()
    assert f"'base:1' names image {image.image_id.short}" in whats(store.errors)[0]
    assert "is gone" in whats(store.problems)[-1]
    with pytest.raises(WrongUsage, match="missing or broken"):
        store.image("base:1")


@pytest.mark.parametrize("which", ["mount_id", "init_id"])
def test_a_container_without_tree(tmp_path: Path, which: str) -> None:
    builder = small_store(tmp_path)
    (mount,) = builder.open().mounts.values()
    layer_id = getattr(mount, which)
    shutil.rmtree(builder.layout.layer(layer_id))
    assert error(builder) == f"its tree {layer_id.short} is missing"


def test_a_container_with_a_torn_lower_id(tmp_path: Path) -> None:
    builder = small_store(tmp_path)
    (mount,) = builder.open().mounts.values()
    path = builder.layout.lower_id(mount.mount_id)
    path.write_text(path.read_text()[:40])
    assert "is no layer: its lower-id is torn" in error(builder)


def test_a_container_on_another_layer_than_recorded(tmp_path: Path) -> None:
    builder = small_store(tmp_path)
    (mount,) = builder.open().mounts.values()
    base = next(iter(builder.cache_ids.values()))
    builder.layout.lower_id(mount.mount_id).write_text(base)
    assert "not on its image's" in error(builder)


def test_a_container_on_a_buildkit_image(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path)
    base = builder.layer({"a": b"a"})
    top = builder.layer({"b": b"b"}, base, buildkit=True)
    container_id = builder.container(builder.image(top), top)
    mount_id = LayerId(builder.layout.mount(container_id).joinpath("mount-id").read_text())
    # Docker copies the upper and stands both on the same root.
    for layer_id in (mount_id, LayerId(f"{mount_id}-init")):
        builder.layout.lower_id(layer_id).write_text(builder.cache_ids[base])
    assert not builder.open().problems


def test_a_container_without_mount_record(builder: StoreBuilder) -> None:
    (mount,) = builder.open().mounts.values()
    shutil.rmtree(builder.layout.mount(mount.container_id))
    assert error(builder) == "container 'c' has no layers"
    assert {tree.name for tree in builder.open().orphans()} == {mount.mount_id, mount.init_id}


def test_a_mount_record_without_container(builder: StoreBuilder) -> None:
    (mount,) = builder.open().mounts.values()
    shutil.rmtree(builder.layout.container(mount.container_id))
    (problem,) = builder.open().problems
    assert not problem.is_error
    assert "belongs to no container" in problem.what


def test_a_container_without_image(builder: StoreBuilder) -> None:
    (mount,) = builder.open().mounts.values()
    path = builder.layout.container_config(mount.container_id)
    path.write_text(path.read_text().replace('"Image": "sha256:', '"Image": "'))
    (problem,) = builder.open().problems
    assert "the image of container 'c' is missing" in problem.what


def test_containers_of_another_driver(builder: StoreBuilder) -> None:
    image = builder.open().image("app")
    other = builder.container(image.image_id, image.top, "old", Driver="")
    store = builder.open()
    assert other not in store.containers
    assert store.foreign_containers[other].name == "old"
    assert "aufs, by being empty" in whats(store.problems)[0]


def test_orphans_and_buildkits_cache(tmp_path: Path) -> None:
    builder = small_store(tmp_path)
    orphan, cached = LayerId("e" * 64), LayerId("z" * 25)
    write_tree(builder.layout.root(orphan), {})
    write_tree(builder.layout.upper(cached), {})
    write(builder.layout.lower_id(cached), next(iter(builder.cache_ids.values())))
    store = builder.open()
    assert [(tree.name, tree.is_buildkit) for tree in store.orphans()] == [
        (orphan, False),
        (cached, True),
    ]
    assert not store.errors
    assert whats(store.problems) == [
        "an orphan: no image, container or layer refers to it",
        "no image or container uses it: part of BuildKit's cache",
    ]


def test_a_broken_records_tree_is_no_orphan(builder: StoreBuilder) -> None:
    top = list(builder.cache_ids)[1]
    (builder.layout.record(top) / "size").write_text("")
    assert not builder.open().orphans()


def test_errors_come_before_notes(tmp_path: Path) -> None:
    builder = small_store(tmp_path)
    write_tree(builder.layout.root(LayerId("0" * 64)), {})
    builder.layout.repositories.write_text("")
    assert [problem.is_error for problem in builder.open().problems] == [True, False]


def test_no_data_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("missing", "file", "loop"):
        with pytest.raises(WrongUsage, match="is no directory"):
            Store.open(tmp_path / name)


def test_no_such_store(tmp_path: Path) -> None:
    small_store(tmp_path, OVERLAY2)
    with pytest.raises(WrongUsage, match="no overlay store") as caught:
        Store.open(tmp_path)
    assert "overlay2" in caught.value.details


def legacy(data_root: Path) -> None:
    write(data_root / "repositories-overlay", "{}")
    write(data_root / "graph" / ("a" * 64) / "json", "{}")
    (data_root / "overlay" / ("a" * 64) / "root").mkdir(parents=True)


def test_the_form_before_1_10(tmp_path: Path) -> None:
    legacy(tmp_path)
    found = discover(tmp_path).store(OVERLAY)
    assert found
    assert found.is_legacy
    with pytest.raises(Refused, match="the form before Docker") as caught:
        Store.open(tmp_path)
    assert "18.09" in caught.value.resolution


def test_a_converted_store_is_not_legacy(tmp_path: Path) -> None:
    small_store(tmp_path)
    legacy(tmp_path)
    write(tmp_path / ".migration-v1-images.json", "{}")
    found = discover(tmp_path)
    assert found.converted
    assert not Store.open(tmp_path).errors


def test_discovery(tmp_path: Path) -> None:
    for driver in DRIVERS:
        write(tmp_path / driver / "something", "")
    for name in ("100000.100000", "1.2x", "btrfs2"):
        (tmp_path / name).mkdir()
    (tmp_path / "3.4").touch()
    found = discover(tmp_path)
    assert found.drivers == DRIVERS
    assert found.sub_roots == (tmp_path.resolve() / "100000.100000",)


def test_an_empty_home_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "overlay").mkdir()
    assert discover(tmp_path).stores == ()


def test_a_store_whose_trees_are_gone(builder: StoreBuilder) -> None:
    shutil.rmtree(builder.layout.home)
    found = discover(builder.layout.data_root)
    # Docker would not see it, but it is there to be told about.
    assert found.drivers == ()
    assert len(found.stores) == 1
    assert f"{builder.layout.driver} is missing" in whats(builder.open().errors)


def verdicts(data_root: Path) -> Dict[str, Verdict]:
    return {verdict.engine: verdict for verdict in engine_verdicts(discover(data_root))}


def test_engines_on_overlay_alone(tmp_path: Path) -> None:
    small_store(tmp_path)
    found = verdicts(tmp_path)
    assert {engine: (v.unset, v.configured) for engine, v in found.items()} == {
        "1.4 - 1.9": (IGNORES, IGNORES),
        "1.10 - 1.12": (USES, USES),
        "1.13 - 17.11": (USES, USES),
        "17.12 - 18.09": (USES, USES),
        "19.03 - 20.10": (USES, USES),
        "23.0": (REFUSES, USES),
        "24": (IGNORES, REFUSES),
        "25 - 28": (IGNORES, REFUSES),
        "29": (IGNORES, REFUSES),
    }
    assert "starts empty with overlay2" in found["25 - 28"].unset_text
    assert "containerd" in found["29"].unset_text
    assert "warning" in found["19.03 - 20.10"].unset_text


def test_engines_on_overlay_and_overlay2(tmp_path: Path) -> None:
    small_store(tmp_path)
    write(tmp_path / "overlay2" / "something", "")
    found = verdicts(tmp_path)
    for engine in ("1.13 - 17.11", "17.12 - 18.09", "19.03 - 20.10"):
        assert found[engine].unset == REFUSES
        assert "several valid graphdrivers" in found[engine].unset_text
    assert found["23.0"].unset == REFUSES
    for engine in ("24", "25 - 28", "29"):
        assert found[engine].unset_text == "uses the overlay2 store"


def test_engines_on_the_form_before_1_10(tmp_path: Path) -> None:
    legacy(tmp_path)
    found = verdicts(tmp_path)
    assert found["1.4 - 1.9"].unset == USES
    assert "converts it" in found["17.12 - 18.09"].unset_text
    assert found["19.03 - 20.10"].unset == IGNORES
    assert "shows no images" in found["19.03 - 20.10"].unset_text


def test_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_store(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ovl1.linux.beneath.Directory.open", refuse)
    with pytest.raises(OvlError, match="may not be read") as caught:
        Store.open(tmp_path)
    assert caught.value.exit_code == 5
