"""Layers and images made in a v1 store; what fails leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from ovl1.driver.base import Driver
from ovl1.driver.overlay1 import Overlay1Driver
from ovl1.errors import BrokenStore, LayerError, Refused
from ovl1.images import build, filling
from ovl1.images.verify import layers_of, verify_layer
from ovl1.model import ChainId, ImageId
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store
from tests.support.layers import Made, entry, make_tar

OWNER = {"uid": os.getuid(), "gid": os.getgid()}
GHOST = ChainId("sha256:" + "f" * 64)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path.resolve() / "docker", OVERLAY)
    create_store(made)
    return made


@pytest.fixture
def driver(layout: Layout, tmp_path: Path) -> Driver:
    return Overlay1Driver(layout, runtime=tmp_path / "run")


def own(name: str, kind: bytes = b"0", **fields: object) -> Made:
    return entry(name, kind, **OWNER, **fields)


def base() -> BinaryIO:
    return make_tar([own("etc/", b"5"), own("etc/a", data=b"a" * 2000000), own("etc/b", data=b"b")])


def above() -> BinaryIO:
    return make_tar([own("etc/.wh.b"), own("etc/c", data=b"c"), own("l", b"2", linkname="etc/c")])


def test_a_layer_is_hashed_applied_and_registered(layout: Layout, driver: Driver) -> None:
    tar = base().read() + bytes(4096)
    chain_id = build.add_layer(driver, None, io.BytesIO(tar))
    assert chain_id == ChainId("sha256:" + hashlib.sha256(tar).hexdigest())
    store = Store.of(layout)
    record = store.layers[chain_id]
    assert record.size == 2000001
    assert (layout.root(record.cache_id) / "etc" / "b").read_bytes() == b"b"
    assert sorted(path.name for path in layout.layer(record.cache_id).iterdir()) == ["root"]
    assert verify_layer(store, record).ok
    assert store.problems == ()


def test_a_layer_shares_its_parents_files(layout: Layout, driver: Driver) -> None:
    parent = build.add_layer(driver, None, base())
    top = build.add_layer(driver, parent, above())
    store = Store.of(layout)
    below, root = (layout.root(store.layers[chain].cache_id) for chain in (parent, top))
    assert (root / "etc" / "a").samefile(below / "etc" / "a")
    assert sorted(path.name for path in (root / "etc").iterdir()) == ["a", "c"]
    assert (below / "etc" / "b").exists()


def test_a_layer_that_is_there_is_not_added_again(layout: Layout, driver: Driver) -> None:
    chain_id = build.add_layer(driver, None, base())
    assert build.add_layer(driver, None, base()) == chain_id
    assert len(list(layout.home.iterdir())) == 1


def test_a_bad_layer_leaves_nothing(layout: Layout, driver: Driver) -> None:
    parent = build.add_layer(driver, None, base())
    whole = above().read()
    for bad in (whole[:700], b"no tar" * 200, make_tar([own("../x")]).read()):
        with pytest.raises(LayerError):
            build.add_layer(driver, parent, io.BytesIO(bad))
    store = Store.of(layout)
    assert list(store.layers) == [parent]
    assert len(store.trees) == 1
    assert store.problems == ()


def test_the_parent_must_be_there_and_whole(layout: Layout, driver: Driver) -> None:
    with pytest.raises(BrokenStore):
        build.add_layer(driver, GHOST, base())
    parent = build.add_layer(driver, None, base())
    root = layout.root(Store.of(layout).layers[parent].cache_id)
    root.rename(root.with_name("upper"))
    with pytest.raises(BrokenStore, match="lower-id is missing"):
        build.add_layer(driver, parent, above())


def test_docker_has_a_limit_of_layers(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "MOST_LAYERS", 1)
    parent = build.add_layer(driver, None, base())
    with pytest.raises(Refused, match="no more than 1 layers"):
        build.add_layer(driver, parent, above())


def test_an_image_of_layers(layout: Layout, driver: Driver) -> None:
    image_id = build.build_image(driver, [base(), above()], "app:1", {"os": "linux"})
    store = Store.of(layout)
    assert store.image("app:1").image_id == image_id
    layers = layers_of(store, [store.images[image_id]])
    assert [verify_layer(store, layer).ok for layer in layers] == [True, True]
    assert store.problems == ()


def test_a_container_of_an_image(layout: Layout, driver: Driver) -> None:
    config = {"os": "linux", "config": {"Entrypoint": ["/run"], "Cmd": ["-x"], "Env": ["A=b"]}}
    image_id = build.build_image(driver, [base(), above()], "app:1", config)
    container_id = build.create_container(driver, image_id, "one", created="2020-01-01T00:00:00Z")
    store = Store.of(layout)
    assert store.containers[container_id].image_id == image_id
    mount = store.mounts[container_id]
    assert mount.init_id is not None
    top = store.chain(store.images[image_id])[0]
    for layer_id in (mount.mount_id, mount.init_id):
        assert layout.lower_id(layer_id).read_text() == top.cache_id
        assert [path.name for path in layout.upper(layer_id).iterdir()] == [".dockerenv"]
    text = layout.container_config(container_id).read_text()
    assert '"Path":"/run"' in text
    assert '"Args":["-x"]' in text
    assert '"Env":["A=b"]' in text
    assert store.problems == ()


def test_a_container_needs_its_image(layout: Layout, driver: Driver) -> None:
    with pytest.raises(BrokenStore):
        build.create_container(driver, ImageId(GHOST), "one", created="")
    assert not any(layout.home.iterdir())
