"""Requests are understood or refused by name; nothing else comes of any bytes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import Any, Callable, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.errors import BrokenStore
from ovl1.model import Change, ChangeKind, IdMaps, IdRange
from ovl1.plugin.protocol import (
    BadRequest,
    Fields,
    change_values,
    described,
    encoded,
    failure,
)

ID = "ab" * 32

GETTERS: Dict[str, Callable[[Fields], object]] = {
    "ID": lambda fields: fields.layer_id,
    "Parent": lambda fields: fields.parent,
    "Home": lambda fields: fields.text("Home"),
    "Opts": lambda fields: fields.texts("Opts"),
    "UIDMaps": lambda fields: fields.id_maps,
    "GIDMaps": lambda fields: fields.id_maps,
    "StorageOpt": lambda fields: fields.storage_options,
}


def test_dockers_init() -> None:
    fields = Fields.parse(
        b'{"Home":"/var/lib/docker/ovl1","Opts":null,'
        b'"UIDMaps":[{"container_id":0,"host_id":100000,"size":65536}],"GIDMaps":null}\n'
    )
    assert fields.text("Home") == "/var/lib/docker/ovl1"
    assert fields.texts("Opts") == []
    assert fields.id_maps == IdMaps(uids=(IdRange(0, 100000, 65536),))


def test_what_go_leaves_out_is_empty() -> None:
    fields = Fields.parse(f'{{"ID":"{ID}","MountLabel":"","StorageOpt":null}}'.encode())
    assert (fields.layer_id, fields.parent, fields.storage_options) == (ID, None, [])
    assert fields.text("MountLabel") == ""


def test_unknown_keys_are_passed_over() -> None:
    assert Fields.parse(b'{"ID":"' + ID.encode() + b'","New":{"a":[1]}}').layer_id == ID


def test_the_query_of_apply_diff() -> None:
    fields = Fields.of_query(f"id={ID}&parent=")
    assert (fields.layer_id, fields.parent) == (ID, None)
    assert Fields.of_query(f"id={ID}&parent={ID}-init").parent == f"{ID}-init"
    assert Fields.of_query(f"id={'a1' * 12}z&parent={ID}").layer_id == "a1" * 12 + "z"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 100_000, b"{}{}"]
)
def test_no_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        Fields.parse(body)


@pytest.mark.parametrize(
    "layer_id",
    [
        *("", "..", "/etc", "a/../../b", f"{ID}/x", ID[:-1], f"{ID}\n", f" {ID}", "root", "l"),
        *(f"{ID}-init-init", ID.upper(), f"{ID}\0", "é" * 32, "\ud800", 5, None, [], {}, True),
    ],
    ids=repr,
)
def test_no_layer_id(layer_id: object) -> None:
    with pytest.raises(BadRequest):
        _ = Fields({"ID": layer_id}).layer_id


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Home", 1),
        ("Home", "a\0b"),
        ("Home", ["/"]),
        ("Opts", "a=b"),
        ("Opts", [1]),
        ("Opts", {"a": "b"}),
        ("UIDMaps", [{"container_id": 0, "host_id": 1}]),
        ("UIDMaps", [{"container_id": 0, "host_id": 1, "size": "2"}]),
        ("UIDMaps", [{"container_id": 0, "host_id": -1, "size": 2}]),
        ("GIDMaps", [{"container_id": 0, "host_id": 1 << 40, "size": 2}]),
        ("GIDMaps", [{"container_id": True, "host_id": 1, "size": 2}]),
        ("GIDMaps", [[0, 1, 2]]),
        ("StorageOpt", ["size"]),
        ("StorageOpt", "size=1G"),
    ],
)
def test_wrong_kinds_are_refused(key: str, value: object) -> None:
    with pytest.raises(BadRequest):
        GETTERS[key](Fields({key: value}))


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(GETTERS)), value=json_values)
def test_any_value_is_taken_or_refused(key: str, value: object) -> None:
    with contextlib.suppress(BadRequest):
        GETTERS[key](Fields.parse(json.dumps({key: value}).encode()))


@given(st.binary())
def test_any_body_is_taken_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        Fields.parse(body)


@given(st.text())
def test_any_error_can_be_said(text: str) -> None:
    said = json.loads(encoded(failure(BrokenStore(text, details=text))))["Err"]
    assert "\n" not in said


@given(st.text())
def test_any_query_is_taken_or_refused(query: str) -> None:
    fields = Fields.of_query(query)
    with pytest.raises(BadRequest):
        _ = fields.layer_id


def test_errors_are_one_line() -> None:
    error = BrokenStore("there is no layer", details="one\ntwo.", resolution="Do\nthis.")
    assert described(error) == "there is no layer. one; two. Do; this"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")
    assert described(full) == "no space left on device: /x"
    assert described(KeyError("x")) == "KeyError: 'x'"


def test_changes_are_written_as_go_does() -> None:
    changes = [
        Change(b"/a", ChangeKind.ADDED),
        Change(b"/\xff", ChangeKind.DELETED),
        Change("/é".encode(), ChangeKind.MODIFIED),
    ]
    assert change_values(changes) == [
        {"Path": "/a", "Kind": 1},
        {"Path": "/\ufffd", "Kind": 2},
        {"Path": "/é", "Kind": 0},
    ]
