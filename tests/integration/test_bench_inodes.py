"""``ovl1 bench inodes`` from end to end: what is measured is what was predicted, to the inode."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from ovl1.bench import inodes
from ovl1.bench.steps import Predictions, predict
from ovl1.cli.main import INTERRUPTED, run
from tests.docker.nasty_layers import (
    Entry,
    directory,
    hardlink,
    layer_tar,
    layers_archive,
    whiteout,
)
from tests.support.archives import Layout, called
from tests.support.bench_cli import assert_measured, assert_nothing_left, bench, stopped

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4", "mkfs.xfs")

SMALL = ("--files", 60, "--dirs", 12, "--symlinks", 9, "--change", 0.1, "--add", 0.1)
BUILT = ("overlay", "overlay2")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where it makes its things, in this process and in others."""
    path = tmp_path / "s"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    assert_nothing_left(path)


def busybox(directory_of: Path) -> Path:
    """A real archive: a static busybox, its links, and a layer with a whiteout on top."""
    program = Path(shutil.which("busybox") or "").read_bytes()
    names = ("sh", "ls", "cat", "sleep")
    base = layer_tar(
        [
            directory("bin"),
            Entry("bin/busybox", content=program, mode=0o755),
            *(hardlink(f"bin/{name}", "bin/busybox") for name in names),
            Entry("etc/passwd", content=b"root:x:0:0::/:/bin/sh\n"),
        ]
    )
    top = layer_tar([whiteout("bin/cat"), Entry("etc/group", content=b"root:x:0:\n")])
    path = directory_of / "busybox.tar"
    path.write_bytes(layers_archive([base, top], ["busybox:1"]))
    return path


def test_a_made_up_image(scratch: Path, tmp_path: Path, full: bool) -> None:
    """On both file systems, after each layer; the file agrees with what is printed."""
    layers = 20 if full else 4
    values = bench(scratch, *SMALL, "--layers", layers, "--csv", tmp_path / "x.csv")
    assert_measured(values, built=4, steps=layers)
    assert {run["left"]["inodes"] for run in values["runs"]} == {0}
    assert {run["empty_store"]["inodes"] for run in values["runs"]} == {16, 17}
    with (tmp_path / "x.csv").open() as file:
        rows: List[Dict[str, str]] = list(csv.DictReader(file))
    assert [row["inodes"] for row in rows] == [
        "" if point["inodes"] is None else str(point["inodes"]) for point in values["points"]
    ]
    figures = {point["layout"]: point["predicted"] for point in values["points"]}
    assert figures["ideal"] < figures["overlay"] < figures["vfs"]


@pytest.mark.needs("busybox")
def test_archives_that_share_a_layer(scratch: Path, tmp_path: Path) -> None:
    """A real one, and an OCI layout, of whose images ovl1 keeps the manifest and the digests."""
    path = busybox(tmp_path)
    layout = Layout()
    layers = [layer_tar([Entry(f"f{number}", content=b"x")]) for number in range(2)]
    described = layout.image(layers, **called("oci:1"))
    for name, content in layout.finished(described).items():
        (tmp_path / "oci" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "oci" / name).write_bytes(content)
    values = bench(scratch, path, tmp_path / "oci", path, "--platform", "linux/amd64")
    assert_measured(values, built=4, steps=6)
    assert [image["name"] for image in values["images"]][0::2] == ["busybox:1"] * 2
    assert {run["left"]["inodes"] for run in values["runs"]} == {8}, "the notes of two digests"
    assert [p["layers_in_store"] for p in values["points"][:6]] == [1, 2, 3, 4, 4, 4]


@pytest.mark.needs("mkfs.btrfs")
def test_btrfs_counts_bytes_only(scratch: Path) -> None:
    values = bench(scratch, *SMALL, "--layers", 2, "--fs", "btrfs", "--layout", "overlay2")
    assert [point["inodes"] for point in values["points"]] == [None, None]
    assert all(point["bytes"] > 0 for point in values["points"])
    assert values["differences"] == 0


def test_a_saved_image_can_be_given(scratch: Path, tmp_path: Path) -> None:
    only = ("--fs", "ext4", "--layout", "overlay2", "--at", 2)
    made = bench(scratch, *SMALL, "--layers", 3, *only, "--save", tmp_path / "made.tar")
    given = bench(scratch, tmp_path / "made.tar", *only)
    assert made["images"] == given["images"]
    assert [point["layers"] for point in made["points"]] == [2, 3]
    inodes = [[point["inodes"] for point in values["points"]] for values in (made, given)]
    assert inodes[0] == inodes[1]


def test_a_wrong_prediction_is_found(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*args: object) -> Predictions:
        told = predict(*args)  # type: ignore[arg-type]
        told.layouts["overlay"].inodes[-1] += 1
        return told

    monkeypatch.setattr(inodes, "predict", wrong)
    only = ("--fs", "ext4", "--layout", "overlay")
    assert run([*map(str, ("--json", "bench", "inodes", *SMALL, "--layers", 2, *only))]) == 1
    said = capsys.readouterr()
    assert [point["difference"] for point in json.loads(said.out)["points"]] == [0, -1]
    assert "1 figures are not what was predicted" in said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_when_it_is_stopped(scratch: Path, number: signal.Signals) -> None:
    many = ("--files", 1000, "--dirs", 300, "--layers", 60, "--fs", "xfs")
    assert stopped(scratch, number, "loop-xfs", *many) == INTERRUPTED


def test_a_damaged_archive(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(layers_archive([b"nonsense" * 100], ["bad:1"]))
    values = bench(scratch, tmp_path / "bad.tar", code=3)
    assert values["error"]["kind"] == "LayerError"
