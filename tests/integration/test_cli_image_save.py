"""``ovl1 image save``: what is whole goes into the archive, what is not is named."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Iterator

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.support import archives
from tests.support.archive_members import LAYERS, docker, oci, packed
from tests.support.image_cli import Ovl1
from tests.support.sources import ROOT

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

WRONG, FAILED = 2, 1
APP = archives.digest(archives.config_of(LAYERS))


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ovl1]:
    """A store with ``app:1``."""
    with loop_file_system("ext4", tmp_path, 64 << 20) as disk:
        (disk / "docker").mkdir()
        made = Ovl1(disk / "docker", request.param, tmp_path / "run")
        path = tmp_path / "app.tar"
        path.write_bytes(packed(docker()))
        made("image", "load", str(path))
        yield made


@pytest.fixture
def half_broken(loaded: Ovl1, tmp_path: Path) -> Ovl1:
    """``app:1`` lacks a file; ``good:1`` shares the base layer with it, and is whole."""
    path = tmp_path / "good.tar"
    path.write_bytes(packed(docker(layers=[LAYERS[0], LAYERS[2]], names=["good:1"])))
    loaded("image", "load", str(path))
    store = loaded.store()
    (_, middle, _) = store.chain(store.image("app:1"))
    tree = loaded.layout.root if loaded.driver == OVERLAY else loaded.layout.diff
    (tree(middle.cache_id) / "etc" / "new").unlink()
    return loaded


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_what_can_be_saved_is_saved(half_broken: Ovl1, form: str, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    arguments = ("image", "save", "--all", "--format", form, "-o", str(path))
    ended = half_broken(*arguments, code=FAILED)
    assert ended.err.startswith("ovl1: 1 of 2 images cannot be saved\n  app:1: ")
    assert "etc/new" in ended.err
    assert "Pull or build those again" in ended.err
    half_broken("image", "rm", "good:1", "app:1")
    assert half_broken("image", "load", str(path)).out == "Loaded image: good:1\n"
    ended = half_broken("image", "verify", "good:1")


def test_a_target_is_untouched_if_nothing_can_be_saved(half_broken: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    path.write_text("older")
    error = half_broken.error("image", "save", "app:1", "-o", str(path), code=FAILED)
    assert error["brief"] == "1 of 1 images cannot be saved"
    assert "etc/new" in error["details"]
    assert path.read_text() == "older"
    assert sorted(tmp_path.glob(".saved.tar*")) == []


def test_a_name_without_an_image_is_told(half_broken: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    image_id = half_broken.store().image("app:1").image_id
    config = half_broken.layout.image_config(image_id)
    config.write_bytes(config.read_bytes() + b" ")
    ended = half_broken("image", "save", "--all", "-o", str(path), code=FAILED)
    assert ended.err.startswith("ovl1: 1 of 2 images cannot be saved\n  app:1: its configuration")
    assert str(config) in ended.err
    with tarfile.open(path) as tar:
        assert "manifest.json" in tar.getnames()


def test_what_saving_says(loaded: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    said = loaded.json("image", "save", "app:1", "-o", str(path))
    assert said["bytes"] == path.stat().st_size
    assert (said["images"], said["layers"], said["unsaved"]) == ([APP], 3, [])
    assert "give -o" in loaded.error("image", "save", "app:1", code=WRONG)["brief"]
    for arguments in ((), ("app:1", "--all")):
        loaded("image", "save", *arguments, code=WRONG)
    loaded("image", "save", "app:1", "-o", str(tmp_path / "no" / "where"), code=WRONG)
    with tarfile.open(path) as tar:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(tar.getnames())


def shell(ovl1: Ovl1, line: str) -> subprocess.CompletedProcess[bytes]:
    """A line for bash, in which $OVL1 is the command."""
    command = f"{sys.executable} -m ovl1 --data-root {ovl1.data_root} --driver {ovl1.driver}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env={**os.environ, "OVL1": command, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )


def test_saving_into_a_pipe(loaded: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    loaded("image", "save", "app:1", "-o", str(path))
    done = shell(loaded, "$OVL1 image save app:1 | cat")
    assert (done.returncode, done.stdout, done.stderr) == (0, path.read_bytes(), b"")
    # Who has seen enough goes away.
    done = shell(loaded, "$OVL1 image save app:1 | head -c 1000 > /dev/null")
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_oci_layout_goes_in_and_out_again(loaded: Ovl1, tmp_path: Path) -> None:
    path, saved = tmp_path / "layout.tar", tmp_path / "saved.tar"
    path.write_bytes(packed(oci()))
    loaded("image", "rm", "app:1")
    loaded("image", "load", str(path))
    loaded("image", "save", "--format", "oci", "app:1", "-o", str(saved))
    with tarfile.open(path) as before, tarfile.open(saved) as after:
        blobs = {name for name in before.getnames() if name.startswith("blobs/")}
        assert blobs == {name for name in after.getnames() if name.startswith("blobs/")}
