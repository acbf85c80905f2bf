"""What is written can be read again, is what Docker writes, and never replaces anything."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from pathlib import Path
from typing import Dict, Optional

import pytest

from ovl1.errors import BrokenStore, Refused, WrongUsage
from ovl1.formats import tarsplit
from ovl1.model import ChainId, ContainerId, DiffId, ImageId, LayerId
from ovl1.store import naming, writer
from ovl1.store.layout import OVERLAY, OVERLAY2, TAR_SPLIT, Layout
from ovl1.store.store import Store
from tests.support.layers import entry, make_tar

CREATED = "2020-01-01T00:00:00Z"
GHOST = ChainId("sha256:" + "f" * 64)


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    made = Layout(tmp_path.resolve() / "docker", request.param)
    writer.create_store(made)
    return made


def new_id() -> LayerId:
    return LayerId(os.urandom(32).hex())


def register(
    layout: Layout,
    parent: Optional[ChainId] = None,
    name: str = "a",
    tree: Optional[LayerId] = None,
) -> ChainId:
    """A layer whose tree is empty; its tar has one file."""
    cache_id = tree or new_id()
    (layout.root(cache_id) if layout.driver == OVERLAY else layout.diff(cache_id)).mkdir(
        parents=True
    )
    tar_split = layout.layer(cache_id) / TAR_SPLIT
    with tar_split.open("wb") as out:
        tar = b"".join(tarsplit.split(make_tar([entry(name)]), out))
    return writer.register_layer(
        layout,
        parent=parent,
        diff_id=DiffId("sha256:" + hashlib.sha256(tar).hexdigest()),
        cache_id=cache_id,
        size=7,
        tar_split=tar_split,
    )


def image(layout: Layout, top: ChainId) -> ImageId:
    chain = Store.of(layout).parts.layers.chain(top)
    diff_ids = [record.diff_id for record in reversed(chain)]
    config = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    return writer.write_image(layout, json.dumps(config).encode())


def container(layout: Layout, image_id: ImageId, top: ChainId, name: str = "one") -> ContainerId:
    container_id, mount_id = ContainerId(os.urandom(32).hex()), new_id()
    writer.write_container(
        layout,
        container_id,
        config=writer.container_config(
            container_id, name=name, image=image_id, driver=layout.driver, created=CREATED
        ),
        host_config=writer.host_config(),
        mount_id=mount_id,
        init_id=LayerId(f"{mount_id}-init"),
        parent=top,
    )
    return container_id


def modes(root: Path) -> Dict[str, int]:
    return {
        path.relative_to(root).as_posix(): stat.S_IMODE(path.lstat().st_mode)
        for path in root.rglob("*")
    }


def test_an_empty_store_has_dockers_modes(layout: Layout) -> None:
    assert stat.S_IMODE(layout.data_root.stat().st_mode) == 0o710
    driver, image_home = layout.driver, f"image/{layout.driver}"
    expected = {
        "containers": 0o710,
        "image": 0o700,
        image_home: 0o700,
        f"{image_home}/distribution": 0o700,
        f"{image_home}/imagedb": 0o700,
        f"{image_home}/imagedb/content": 0o700,
        f"{image_home}/imagedb/content/sha256": 0o700,
        f"{image_home}/imagedb/metadata": 0o700,
        f"{image_home}/imagedb/metadata/sha256": 0o700,
        f"{image_home}/layerdb": 0o700,
        f"{image_home}/layerdb/mounts": 0o755,
        f"{image_home}/layerdb/sha256": 0o755,
        f"{image_home}/layerdb/tmp": 0o755,
        f"{image_home}/repositories.json": 0o600,
        driver: 0o710,
    }
    if driver == OVERLAY2:
        expected["overlay2/l"] = 0o700
    assert modes(layout.data_root) == expected
    assert layout.repositories.read_bytes() == b'{"Repositories":{}}'


def test_a_store_is_not_made_twice_but_beside_another(layout: Layout) -> None:
    with pytest.raises(Refused):
        writer.create_store(layout)
    layout.containers.chmod(0o700)
    other = OVERLAY2 if layout.driver == OVERLAY else OVERLAY
    writer.create_store(Layout(layout.data_root, other))
    assert stat.S_IMODE(layout.containers.stat().st_mode) == 0o700


def test_a_layer_is_read_again(layout: Layout) -> None:
    cache_id = new_id()
    base = register(layout, tree=cache_id)
    top = register(layout, base, "b")
    store = Store.of(layout)
    record = store.layers[base]
    assert (record.cache_id, record.size, record.parent) == (cache_id, 7, None)
    assert ChainId(record.diff_id) == base
    assert store.layers[top].parent == base
    assert record.tar_split == layout.tar_split(base)
    assert [
        e.name for e in tarsplit.headers(tarsplit.read(io.BytesIO(record.tar_split.read_bytes())))
    ]
    assert not any(layout.staging.iterdir())
    assert not (layout.layer(cache_id) / TAR_SPLIT).exists()


def test_a_layers_files_are_dockers(layout: Layout) -> None:
    base = register(layout)
    top = register(layout, base, "b")
    assert stat.S_IMODE(layout.record(top).stat().st_mode) == 0o700
    files = ["cache-id", "diff", "parent", "size", "tar-split.json.gz"]
    assert modes(layout.record(top)) == dict.fromkeys(files, 0o644)
    assert "parent" not in modes(layout.record(base))
    assert (layout.record(top) / "parent").read_text() == base
    assert (layout.record(top) / "size").read_text() == "7"


def test_a_layer_is_never_replaced(layout: Layout) -> None:
    base = register(layout)
    before = (layout.record(base) / "cache-id").read_text()
    with pytest.raises(Refused, match="has a record already"):
        register(layout)
    assert (layout.record(base) / "cache-id").read_text() == before


def test_an_empty_record_is_not_replaced_either(layout: Layout) -> None:
    empty = layout.record(register(layout))
    for path in empty.iterdir():
        path.unlink()
    with pytest.raises(Refused, match="a crash left it"):
        register(layout)


def test_a_layer_needs_its_parent(layout: Layout) -> None:
    with pytest.raises(Refused, match="ffffffffffff, is not in the store"):
        register(layout, GHOST)


def test_a_failure_leaves_no_staging(layout: Layout) -> None:
    with pytest.raises(FileNotFoundError):
        writer.register_layer(
            layout,
            parent=None,
            diff_id=DiffId(GHOST),
            cache_id=new_id(),
            size=0,
            tar_split=layout.home / "missing",
        )
    assert not any(layout.staging.iterdir())
    assert Store.of(layout).layers == {}


def test_an_image_is_read_again(layout: Layout) -> None:
    top = register(layout, register(layout), "b")
    image_id = image(layout, top)
    assert image(layout, top) == image_id
    store = Store.of(layout)
    assert store.images[image_id].top == top
    assert modes(layout.image_configs) == {image_id.hex: 0o600}
    assert store.parts.images.problems == []


def test_names_are_kept_and_move(layout: Layout) -> None:
    one = image(layout, register(layout))
    two = image(layout, register(layout, name="b"))
    assert naming.tag_image(layout, one, "app:1") == "app:1"
    assert naming.tag_image(layout, one, "docker.io/library/app") == "app:latest"
    naming.tag_image(layout, one, "Registry.example:5000/team/app:1")
    naming.tag_image(layout, two, "app:1")
    assert Store.of(layout).references.tags == {
        "app:1": two,
        "app:latest": one,
        "Registry.example:5000/team/app:1": one,
    }
    assert stat.S_IMODE(layout.repositories.stat().st_mode) == 0o600


def test_what_else_the_list_of_names_has_is_kept(layout: Layout) -> None:
    digest = {"old": {f"old@{GHOST}": str(GHOST)}}
    layout.repositories.write_text(json.dumps({"Repositories": digest, "Future": [1]}))
    image_id = image(layout, register(layout))
    naming.tag_image(layout, image_id, "app")
    assert json.loads(layout.repositories.read_text()) == {
        "Repositories": {**digest, "app": {"app:latest": image_id}},
        "Future": [1],
    }


@pytest.mark.parametrize(
    "name", ["", "App:1", "app:", "app: 1", "../app", "app//x", "App/x:1", f"app@{GHOST}", "-a"]
)
def test_names_that_docker_refuses(layout: Layout, name: str) -> None:
    before = layout.repositories.read_bytes()
    with pytest.raises(WrongUsage):
        naming.tag_image(layout, ImageId(GHOST), name)
    assert layout.repositories.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"Repositories":[1]}', '{"Repositories":{"app":3}}']
)
def test_an_unreadable_list_of_names_is_not_overwritten(layout: Layout, text: str) -> None:
    layout.repositories.write_text(text)
    with pytest.raises(BrokenStore):
        naming.tag_image(layout, ImageId(GHOST), "app:1")
    assert layout.repositories.read_text() == text


def test_a_container_is_read_again(layout: Layout) -> None:
    top = register(layout)
    image_id = image(layout, top)
    container_id = container(layout, image_id, top)
    store = Store.of(layout)
    found = store.containers[container_id]
    assert (found.name, found.image_id, found.status) == ("one", image_id, "stopped")
    mount = store.mounts[container_id]
    assert mount.parent == top
    assert mount.init_id == f"{mount.mount_id}-init"
    assert stat.S_IMODE(layout.container(container_id).stat().st_mode) == 0o710
    expected = {"checkpoints": 0o700, "config.v2.json": 0o600, "hostconfig.json": 0o644}
    assert modes(layout.container(container_id)) == expected
    assert modes(layout.mount(container_id)) == dict.fromkeys(
        ["mount-id", "init-id", "parent"], 0o644
    )


def test_a_container_is_never_replaced(layout: Layout) -> None:
    top = register(layout)
    image_id = image(layout, top)
    container_id = container(layout, image_id, top)
    before = layout.container_config(container_id).read_bytes()
    with pytest.raises(Refused):
        writer.write_container(
            layout,
            container_id,
            config={},
            host_config={},
            mount_id=new_id(),
            init_id=None,
            parent=None,
        )
    assert layout.container_config(container_id).read_bytes() == before


def test_a_container_that_fails_leaves_nothing(layout: Layout) -> None:
    with pytest.raises(TypeError):
        writer.write_container(
            layout,
            ContainerId("a" * 64),
            config={"not JSON": object()},
            host_config={},
            mount_id=new_id(),
            init_id=None,
            parent=None,
        )
    assert not any(layout.mounts.iterdir())
    assert not any(layout.containers.iterdir())


@pytest.mark.parametrize("name", ["", "a", "/one", "a b", "-x"])
def test_container_names_that_docker_refuses(layout: Layout, name: str) -> None:
    with pytest.raises(WrongUsage):
        container(layout, ImageId(GHOST), GHOST, name)
