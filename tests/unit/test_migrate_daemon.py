"""The step that changes daemon.json: done and undone from every state, any number of times."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import pytest

from ovl1.errors import Refused
from ovl1.linux import durable
from ovl1.migrate.daemon import WriteDaemonJson, check_file, kept_name
from tests.support.manifest import differences, manifest

TEXTS = [None, b"", b'{"debug": true, "storage-driver": "overlay"}\n', b'{"x": [1]}']


def step_in(
    place: Path, text: Optional[bytes], data_root: Optional[Path] = None
) -> WriteDaemonJson:
    path = place / "etc" / "daemon.json"
    path.parent.mkdir()
    if text is not None:
        path.write_bytes(text)
        path.chmod(0o640)
        os.utime(path, ns=(1, 2))
    return WriteDaemonJson(path, kept_name(path), place / "none", data_root)


@pytest.mark.parametrize("text", TEXTS)
def test_there_and_back(tmp_path: Path, text: Optional[bytes]) -> None:
    step = step_in(tmp_path, text, Path("/new"))
    before = manifest(tmp_path)
    for _ in range(2):
        for _ in range(2):
            step.do()
            assert b'"overlay2"' in step.path.read_bytes()
            assert b'"/new"' in step.path.read_bytes()
            assert step.path.stat().st_mode & 0o777 == (0o644 if text is None else 0o640)
        if text is not None:
            assert step.kept.read_bytes() == text
        for _ in range(2):
            step.undo()
            after = manifest(tmp_path)
            found = [line for line in differences(before, after) if not is_time(line)]
            assert found == []


def is_time(line: str) -> bool:
    """Of a directory: its entries did change."""
    return line.startswith((".: mtime_ns", "etc: mtime_ns"))


@pytest.mark.parametrize("text", TEXTS)
def test_undone_from_half_way(tmp_path: Path, text: Optional[bytes]) -> None:
    """As a kill leaves it: the old file is kept, the new one is begun, or not even that."""
    step = step_in(tmp_path, text)
    before = manifest(tmp_path)
    if text is None:
        step.none.touch()
    else:
        os.link(step.path, step.kept)
    durable.temporary(step.path).write_bytes(b'{"stor')
    step.undo()
    assert [line for line in differences(before, manifest(tmp_path)) if not is_time(line)] == []


@pytest.mark.parametrize("text", TEXTS)
def test_what_others_have_changed_since_stays(tmp_path: Path, text: Optional[bytes]) -> None:
    step = step_in(tmp_path, text)
    step.do()
    step.path.write_bytes(step.path.read_bytes().replace(b"{", b'{"mtu": 1400, ', 1))
    for _ in range(2):
        step.undo()
        now = step.path.read_bytes()
        assert b"overlay2" not in now
        assert b"1400" in now
        assert (b'"overlay"' in now) == (text is not None and b'"overlay"' in text)


def test_what_is_no_json_any_more_stays(tmp_path: Path) -> None:
    step = step_in(tmp_path, TEXTS[2])
    step.do()
    step.path.write_bytes(b"{")
    step.undo()
    assert step.path.read_bytes() == b"{"
    assert step.kept.read_bytes() == TEXTS[2]


def test_what_cannot_be_changed_is_refused(tmp_path: Path) -> None:
    root, new = Path("/var/lib/docker"), Path("/srv/docker")
    path = tmp_path / "daemon.json"
    link = tmp_path / "link.json"
    link.symlink_to(path)
    assert check_file(link, data_root=root, to=new) == path
    with pytest.raises(Refused, match="no directory"):
        check_file(tmp_path / "no" / "daemon.json", data_root=root, to=None)
    remapped = root / "1000.1000"
    assert check_file(path, data_root=remapped, to=None) == path
    with pytest.raises(Refused, match="user namespace"):
        check_file(path, data_root=remapped, to=new)
    path.mkdir()
    with pytest.raises(Refused, match="is no file"):
        check_file(path, data_root=root, to=None)


def test_an_older_copy_stays(tmp_path: Path) -> None:
    step = step_in(tmp_path, TEXTS[3])
    step.do()
    again = WriteDaemonJson(step.path, kept_name(step.path), tmp_path / "none")
    assert again.kept.name == "daemon.json.ovl1-old-2"
    again.do()
    again.undo()
    assert step.kept.read_bytes() == TEXTS[3]
