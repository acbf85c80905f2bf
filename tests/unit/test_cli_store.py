"""``info``, ``layer`` and ``image`` on small stores, whole and broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, List

import pytest

from ovl1.cli.main import run
from ovl1.model import LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.support.store_builder import StoreBuilder, small_store, write_tree


class Ovl1:
    """Runs commands on one data-root."""

    def __init__(self, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_root = data_root
        self.capsys = capsys
        self.code = 0
        self.err = ""

    def __call__(self, *arguments: str) -> str:
        """What the command prints; exit code and standard error are kept."""
        self.code = run(["--data-root", str(self.data_root), *arguments])
        shown = self.capsys.readouterr()
        self.err = shown.err
        return shown.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def rows(self, *arguments: str) -> List[List[str]]:
        """The words of each line of a table, without its head."""
        return [line.split() for line in self(*arguments).splitlines()[1:]]


@pytest.fixture
def ovl1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ovl1:
    return Ovl1(tmp_path, capsys)


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def builder(request: pytest.FixtureRequest, tmp_path: Path) -> StoreBuilder:
    return small_store(tmp_path, request.param)


def test_image_ls(builder: StoreBuilder, ovl1: Ovl1) -> None:
    rows = ovl1.rows("image", "ls")
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("app", "1", "4.01kB"),
        ("app", "latest", "4.01kB"),
        ("base", "1", "4B"),
    ]
    assert ovl1.code == 0
    found = ovl1.json("image", "ls")
    assert [image["tags"] for image in found] == [["app:1", "app:latest"], ["base:1"]]
    assert found[0]["parent"] == found[1]["id"]
    assert ovl1("-q", "image", "ls").split() == [image["id"][7:19] for image in found]
    assert found[0]["id"] in ovl1("image", "ls", "--no-trunc")


def test_image_ls_shows_what_docker_shows(tmp_path: Path, ovl1: Ovl1) -> None:
    builder = StoreBuilder(tmp_path)
    digest = "sha256:" + "d" * 64
    step = builder.image(None, author="step")
    builder.image(None, "reg:5000/app:1", f"reg:5000/app@{digest}", parent=step)
    builder.image(None, f"other@{digest}")
    builder.image(None, author="dangling")
    rows = ovl1.rows("image", "ls", "--digests")
    assert sorted(row[:3] for row in rows) == [
        ["<none>", "<none>", "<none>"],
        ["other", "<none>", digest],
        ["reg:5000/app", "1", digest],
    ]
    assert len(ovl1.rows("image", "ls")) == 3
    assert len(ovl1.rows("image", "ls", "--all")) == 4


def test_a_name_cannot_act_on_the_terminal(tmp_path: Path, ovl1: Ovl1) -> None:
    builder = StoreBuilder(tmp_path)
    builder.image(None, "\x1b[2Jevil:1", history=[{"created_by": "\u202e\x07\n"}])
    shown = ovl1("image", "ls")
    assert "\x1b" not in shown
    assert r"\x1b[2Jevil" in shown
    image = ovl1.json("image", "ls")[0]["id"]
    assert r"\u202e\x07\n" in ovl1("image", "history", image)


def test_image_ls_of_a_broken_image(builder: StoreBuilder, ovl1: Ovl1) -> None:
    shutil.rmtree(builder.layout.record(list(builder.cache_ids)[1]))
    assert ovl1.rows("image", "ls")[0][-1] == "broken"
    assert "problems in the store" in ovl1.err
    assert ovl1.json("image", "ls")[0]["size"] is None


def test_image_history(builder: StoreBuilder, ovl1: Ovl1) -> None:
    first, second = ovl1.json("image", "history", "app:1")
    assert (first["created_by"], first["size"], first["comment"]) == ("RUN top", 4003, "c")
    assert (second["created_by"], second["size"]) == ("ADD base", 4)
    assert first["tags"] == ["app:1", "app:latest"]
    assert second["tags"] == ["base:1"]
    rows = ovl1.rows("image", "history", "app")
    assert rows[0][0] == first["image_id"][7:19]
    ovl1("image", "history", "nonsense")
    assert ovl1.code == 2
    assert "no image 'nonsense'" in ovl1.err


def test_image_verify(builder: StoreBuilder, ovl1: Ovl1) -> None:
    rows = ovl1.rows("image", "verify", "app:1", "base:1")
    assert [row[-1] for row in rows] == ["ok", "ok"]
    assert ovl1.code == 0
    assert len(ovl1.json("image", "verify", "--all")) == 2
    assert len(ovl1.rows("image", "verify", "base:1")) == 1


def test_verify_names_the_file_at_fault(builder: StoreBuilder, ovl1: Ovl1) -> None:
    top = builder.cache_ids[list(builder.cache_ids)[1]]
    home = (
        builder.layout.root(top) if builder.layout.driver == OVERLAY else builder.layout.diff(top)
    )
    (home / "etc" / "top").write_bytes(b"tOp")
    assert [row[-2:] for row in ovl1.rows("image", "verify", "app:1")][1] == ["faults:", "1"]
    assert ovl1.code == 1
    assert "(app:1, app:latest): etc/top: content of 'etc/top' does not match" in ovl1.err
    verdicts = ovl1.json("image", "verify", "--all")
    assert sorted(verdict["ok"] for verdict in verdicts) == [False, True]
    assert [f["file"] for v in verdicts for f in v["faults"]] == ["etc/top"]
    assert ovl1.code == 1
    assert json.loads(ovl1.err)["error"]["kind"] == "CheckFailed"


def test_verify_of_buildkits_layers(tmp_path: Path, ovl1: Ovl1) -> None:
    builder = StoreBuilder(tmp_path)
    base = builder.layer({"etc/base": b"base"})
    top = builder.layer({"etc/top": b"top"}, base, buildkit=True)
    builder.image(top, "bk:1")
    assert [row[-1] for row in ovl1.rows("image", "verify", "bk:1")] == ["ok", "ok"]


@pytest.mark.parametrize("what", ["tree", "tar-split", "damaged"])
def test_verify_without_something(tmp_path: Path, ovl1: Ovl1, what: str) -> None:
    builder = small_store(tmp_path)
    top, cache_id = list(builder.cache_ids.items())[1]
    if what == "tree":
        shutil.rmtree(builder.layout.layer(cache_id))
    elif what == "tar-split":
        builder.layout.tar_split(top).unlink()
    else:
        builder.layout.tar_split(top).write_bytes(b"\x1f\x8b nonsense")
    ovl1("image", "verify", "--all")
    assert ovl1.code == 1
    assert what.partition("-")[0] in ovl1.err


def test_verify_wants_images_or_all(builder: StoreBuilder, ovl1: Ovl1) -> None:
    for arguments in ([], ["--all", "app:1"]):
        ovl1("image", "verify", *arguments)
        assert ovl1.code == 2


def test_layer_ls(builder: StoreBuilder, ovl1: Ovl1) -> None:
    base, top = builder.cache_ids
    rows = ovl1.rows("layer", "ls")
    assert [(row[0], row[3], row[-1]) for row in rows] == [
        (base.short, "1", "2"),
        (top.short, "2", "1"),
    ]
    assert [layer["chain_id"] for layer in ovl1.json("layer", "ls")] == [base, top]
    assert ovl1("-q", "layer", "ls").split() == [base.short, top.short]
    assert builder.cache_ids[base] in ovl1("layer", "ls", "--no-trunc")


def test_layer_inspect(builder: StoreBuilder, ovl1: Ovl1) -> None:
    base, top = builder.cache_ids
    found = ovl1.json("layer", "inspect", builder.cache_ids[top][:10])
    assert (found["chain_id"], found["parent"], found["depth"]) == (top, base, 2)
    assert found["images"] == ["app:1, app:latest"]
    assert len(found["containers"]) == 1
    assert found["paths"][0].endswith(("/root", "/diff"))
    assert ovl1.json("layer", "inspect", base)["children"] == [top]
    assert f"Parent       {base}" in ovl1("layer", "inspect", top)
    ovl1("layer", "inspect", "nonsense")
    assert ovl1.code == 2


def test_layer_inspect_without_tree(builder: StoreBuilder, ovl1: Ovl1) -> None:
    top, cache_id = list(builder.cache_ids.items())[1]
    shutil.rmtree(builder.layout.layer(cache_id))
    found = ovl1.json("layer", "inspect", top)
    assert (found["kind"], found["paths"]) == ("missing", [])


def test_an_ambiguous_layer(tmp_path: Path, ovl1: Ovl1) -> None:
    builder = StoreBuilder(tmp_path)
    parents = [builder.layer({name: b""}) for name in "ab"]
    twins = [builder.layer({"same": b""}, parent) for parent in parents]
    ovl1("layer", "inspect", builder.open().layers[twins[0]].diff_id)
    assert ovl1.code == 2
    assert all(twin.short in ovl1.err for twin in twins)


def test_info(builder: StoreBuilder, ovl1: Ovl1) -> None:
    shown = ovl1("info", "--no-probe")
    assert ovl1.code == 0
    assert "2 images, 2 layers, 1 container, 4 trees, 0 errors" in shown
    assert "Abilities" not in shown
    assert "25 - 28" in shown
    found = ovl1.json("info", "--no-probe")
    (store,) = found["stores"]
    assert store["counts"]["errors"] == 0
    assert found["backing"]["inodes"] >= found["backing"]["inodes_free"]
    assert [engine["engine"] for engine in found["engines"]][-1] == "29"


def test_info_lists_problems_on_demand(tmp_path: Path, ovl1: Ovl1) -> None:
    builder = small_store(tmp_path)
    builder.layout.repositories.write_text("")
    write_tree(builder.layout.root(LayerId("e" * 64)), {})
    assert "repositories.json is empty" not in ovl1("info", "--no-probe")
    assert "`ovl1 -v info` lists the errors" in ovl1.err
    shown = ovl1("-v", "info", "--no-probe")
    assert "repositories.json is empty" in shown
    assert "an orphan" in shown
    assert [p["grade"] for p in ovl1.json("info", "--no-probe")["stores"][0]["problems"]] == [
        "error",
        "note",
    ]


def test_info_of_an_empty_directory(ovl1: Ovl1) -> None:
    assert "none of any driver" in ovl1("info", "--no-probe")


def test_info_of_stores_that_are_not_read(tmp_path: Path, ovl1: Ovl1) -> None:
    for name in ("aufs/diff", "overlay/x", "graph/x", "100000.100000"):
        (tmp_path / name).mkdir(parents=True)
    shown = ovl1("info", "--no-probe")
    assert "ovl1 does not read this driver's store" in shown
    assert "before Docker 1.10" in shown
    assert "100000.100000" in shown


def test_info_tries_the_abilities(builder: StoreBuilder, ovl1: Ovl1) -> None:
    before = sorted(ovl1.data_root.iterdir())
    assert "hardlinks" in ovl1.json("info")["abilities"]
    assert "Abilities" in ovl1("info")
    assert sorted(ovl1.data_root.iterdir()) == before


def test_abilities_that_cannot_be_tried(
    builder: StoreBuilder, ovl1: Ovl1, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ovl1.cli.info.probe", full)
    assert "could not be tried: No space left on device" in ovl1("info")
    assert ovl1.code == 0


def test_both_stores_at_once(tmp_path: Path, ovl1: Ovl1) -> None:
    small_store(tmp_path, OVERLAY)
    small_store(tmp_path, OVERLAY2)
    assert ovl1.json("layer", "ls")[0]["kind"] == "image"
    assert ovl1.json("--driver", "overlay2", "layer", "ls")[0]["kind"] == "stacked"
