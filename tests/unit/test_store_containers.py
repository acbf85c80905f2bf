"""Containers, their mount records, and changing their driver byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.errors import BrokenStore
from ovl1.model import ImageId
from ovl1.store.containers import read_containers, replace_driver
from ovl1.store.mounts import read_mounts
from tests.support.store_builder import StoreBuilder, whats, write

IMAGE = ImageId("sha256:" + "a" * 64)


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    return StoreBuilder(tmp_path)


def test_a_container_is_read(builder: StoreBuilder) -> None:
    top = builder.layer({"a": b"a"})
    container_id = builder.container(
        IMAGE, top, "web", MountLabel="s:t", State={"Running": True, "Paused": True}
    )
    table = read_containers(builder.layout)
    assert not table.problems
    container = table.containers[container_id]
    assert (container.name, container.driver, container.image_id) == ("web", "overlay", IMAGE)
    assert (container.running, container.paused, container.dead) == (True, True, False)
    assert container.status == "paused"
    assert container.mount_label == "s:t"
    assert container.config_path == builder.layout.container_config(container_id)
    mounts = read_mounts(builder.layout)
    assert not mounts.problems
    mount = mounts.mounts[container_id]
    assert mount.init_id == f"{mount.mount_id}-init"
    assert mount.parent == top


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"Running": True}, "running"),
        ({"Dead": True}, "dead"),
        ({"RemovalInProgress": True}, "dead"),
        ({}, "stopped"),
        (None, "stopped"),
    ],
)
def test_states(builder: StoreBuilder, state: Any, status: str) -> None:
    container_id = builder.container(IMAGE, None, State=state)
    assert read_containers(builder.layout).containers[container_id].status == status


def test_other_drivers_are_kept(builder: StoreBuilder) -> None:
    container_id = builder.container(IMAGE, None, Driver="aufs")
    assert read_containers(builder.layout).containers[container_id].driver == "aufs"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "config.v2.json is missing"),
        ("", "config.v2.json is empty"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"ID": "x"}', "that of another container, 'x'"),
    ],
)
def test_a_broken_configuration(builder: StoreBuilder, content: str, what: str) -> None:
    container_id = builder.container(IMAGE, None)
    path = builder.layout.container_config(container_id)
    path.unlink()
    if content is not None:
        path.write_text(content)
    table = read_containers(builder.layout)
    assert not table.containers
    assert what in whats(table.problems)[0]


def test_the_form_before_1_10_is_explained(builder: StoreBuilder) -> None:
    write(builder.layout.containers / ("a" * 64) / "config.json", "{}")
    (problem,) = read_containers(builder.layout).problems
    assert "before Docker 1.10" in problem.what
    assert "18.09" in problem.resolution


@pytest.mark.parametrize("name", ["lost+found", "A" * 64, "\udcfe"])
def test_a_directory_that_is_no_container(builder: StoreBuilder, name: str) -> None:
    (builder.layout.containers / name).mkdir()
    assert "is not a container id" in whats(read_containers(builder.layout).problems)[0]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("mount-id", None, "mount-id is missing"),
        ("mount-id", "", "mount-id is empty"),
        ("mount-id", "../x", "'../x' is not a layer id"),
        ("init-id", "", "init-id is empty"),
        ("parent", "x", "'x' is not a sha256 digest"),
    ],
)
def test_a_broken_mount_record(builder: StoreBuilder, name: str, content: str, what: str) -> None:
    container_id = builder.container(IMAGE, None)
    path = builder.layout.mount(container_id) / name
    if path.exists():
        path.unlink()
    if content is not None:
        path.write_text(content)
    table = read_mounts(builder.layout)
    assert not table.mounts
    assert what in whats(table.problems)[0]


def test_no_containers_at_all(builder: StoreBuilder) -> None:
    builder.layout.containers.rmdir()
    assert not read_containers(builder.layout).problems
    assert not read_mounts(builder.layout).problems


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    members=st.dictionaries(st.text().filter(lambda key: key.lower() != "driver"), values),
    at=st.integers(min_value=0),
    indent=st.none() | st.integers(0, 3),
    ascii_only=st.booleans(),
    tail=st.sampled_from(["", "\n", " \t\r\n"]),
)
def test_replacing_the_driver_changes_nothing_else(
    members: Dict[str, Any], at: int, indent: Any, ascii_only: bool, tail: str
) -> None:
    items = list(members.items())
    items.insert(at % (len(items) + 1), ("Driver", "overlay"))
    old = json.dumps(dict(items), indent=indent, ensure_ascii=ascii_only) + tail
    before = old.encode("utf-8", "surrogatepass")
    after = replace_driver(before, "overlay", "overlay2")
    assert json.loads(after) == {**json.loads(before), "Driver": "overlay2"}
    assert list(json.loads(after)) == list(json.loads(before))
    # One byte longer, and but for that byte the same on both sides of the value.
    assert len(after) == len(before) + 1
    same = next(i for i, (a, b) in enumerate(zip(after, before + b"\0")) if a != b)
    assert after[same + 1 :] == before[same:]
    assert replace_driver(after, "overlay2", "overlay") == before


def test_what_json_would_lose_is_kept() -> None:
    before = (
        b'{"big": 1e999, "n":0.10, "d" :{"Driver":"overlay"} ,"Driver"\t: "overlay", "x":"\xff<"}\n'
    )
    after = replace_driver(before, "overlay", "overlay2")
    assert after == before.replace(b'\t: "overlay"', b'\t: "overlay2"')


def test_escapes_in_the_key_are_understood() -> None:
    assert replace_driver(rb'{"\u0044river":"overlay"}', "overlay", "x") == rb'{"\u0044river":"x"}'


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b'{"Driver"}',
        b'{"Driver":',
        b'{"Driver":"overlay"',
        b'{"Driver":"overlay",}',
        b'{"Driver":"overlay"}x',
        b'{"Driver":"overlay" "a":1}',
        b'{1:2,"Driver":"overlay"}',
        b'{"Driver":"aufs"}',
        b'{"Driver":null}',
        b'{"driver":"overlay"}',
        b'{"Driver":"overlay","Driver":"overlay"}',
        b'{"Driver":"overlay","driver":"aufs"}',
        b'{"State":{"Driver":"overlay"}}',
        b'\xef\xbb\xbf{"Driver":"overlay"}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_a_driver_that_cannot_be_replaced(config: bytes) -> None:
    with pytest.raises(BrokenStore):
        replace_driver(config, "overlay", "overlay2")
