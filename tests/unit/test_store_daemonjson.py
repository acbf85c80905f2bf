"""daemon.json: one value changed, not another byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.errors import BrokenStore, Refused
from ovl1.store.daemonjson import changed, parsed, restored, values

DRIVER = {"storage-driver": "overlay2"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b'{\n    "storage-driver": "overlay2"\n}\n'),
        (b"\n", b'{\n    "storage-driver": "overlay2"\n}\n'),
        (b"{}", b'{\n    "storage-driver": "overlay2"\n}'),
        (b"{ \n }\n", b'{\n    "storage-driver": "overlay2"\n}\n'),
        (b'{"debug":true}', b'{"debug":true, "storage-driver": "overlay2"}'),
        (
            b'{\n\t"z": 1.50,\n\t"a": [1e3]\n}\n',
            b'{\n\t"z": 1.50,\n\t"a": [1e3],\n\t"storage-driver": "overlay2"\n}\n',
        ),
        (
            b'{"storage-driver" : "overlay" , "x":"\xc3\xa9"}',
            b'{"storage-driver" : "overlay2" , "x":"\xc3\xa9"}',
        ),
        (b'{"a": {"storage-driver": "x"}}', None),
    ],
)
def test_changed(before: bytes, after: Optional[bytes]) -> None:
    made = changed(before, DRIVER)
    assert after is None or made == after
    assert values(made) == {**values(before), **DRIVER}
    assert changed(made, DRIVER) == made


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b"null",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": 1} x',
        b"{'a': 1}",
        b'{"storage-driver": "a", "storage-driver": "b"}',
        b'{"Storage-Driver": "a"}',
        b'\xef\xbb\xbf{"a": 1}',
    ],
)
def test_what_docker_would_not_read_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(BrokenStore):
        changed(text, DRIVER)


def test_a_file_that_cannot_be_read_as_json(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    assert parsed(path) == {}
    path.write_text("{")
    with pytest.raises(Refused, match="cannot be read as JSON"):
        parsed(path)
    with pytest.raises(Refused, match="is no file"):
        parsed(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = st.text(alphabet="abc-", max_size=3) | st.just("storage-driver")
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


@given(OBJECTS, st.sampled_from([None, 1, 4]), st.booleans())
def test_only_the_value_changes_and_comes_back(
    before: Dict[str, Any], indent: Optional[int], named: bool
) -> None:
    if named:
        before["storage-driver"] = "overlay"
    elif "storage-driver" in before:
        del before["storage-driver"]
    text = json.dumps(before, indent=indent).encode()
    made = changed(text, DRIVER)
    assert values(made) == {**before, **DRIVER}
    assert [key for key in values(made) if key in before] == list(before)
    assert values(restored(made, text, DRIVER)) == before


def test_what_others_have_changed_since_stays() -> None:
    before = b'{"debug": true}'
    now = b'{"storage-driver": "overlay2", "debug": false, "new": 1}'
    assert restored(now, before, DRIVER) == b'{"debug": false, "new": 1}'
    assert restored(now, b'{"storage-driver": "overlay"}', DRIVER) == now.replace(
        b"overlay2", b"overlay"
    )
