"""``ovl1 layer``: what ids mean, who stands on whom, what is refused before anything is done."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, List

import pytest
from click.shell_completion import ShellComplete

from ovl1.cli.files import tar_target
from ovl1.cli.layer.home import Home
from ovl1.cli.main import cli, run
from ovl1.driver.base import Driver
from ovl1.errors import BrokenStore, WrongUsage
from ovl1.model import ChainId, LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.support.store_builder import StoreBuilder, small_store, write_tree

NOWHERE = "f" * 63 + "e"


class Ovl1:
    """Runs ``ovl1 layer`` on one data-root."""

    def __init__(self, data_root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.data_root = data_root
        self.capfd = capfd
        self.code = 0
        self.err = ""

    def __call__(self, *arguments: str) -> str:
        self.code = run(["--data-root", str(self.data_root), "layer", *arguments])
        shown = self.capfd.readouterr()
        self.err = shown.err
        return shown.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def ovl1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Ovl1:
    return Ovl1(tmp_path, capfd)


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def builder(request: pytest.FixtureRequest, tmp_path: Path) -> StoreBuilder:
    return small_store(tmp_path, request.param)


class NoDriver:
    """Stands for a driver that is not asked to do anything."""

    def exists(self, layer_id: LayerId) -> bool:
        return False


def home(builder: StoreBuilder) -> Home:
    driver: Any = NoDriver()
    as_driver: Driver = driver
    return Home(builder.open(), as_driver)


def layers(builder: StoreBuilder) -> List[LayerId]:
    """Base, top, and the container's init layer and own layer."""
    (mount,) = builder.open().mounts.values()
    assert mount.init_id
    return [*builder.cache_ids.values(), mount.init_id, mount.mount_id]


def test_a_layer_has_many_names(builder: StoreBuilder) -> None:
    found = home(builder)
    top, init, own = layers(builder)[1:]
    record = list(builder.open().layers.values())
    for text in (top, top[:12], top.upper()[:12], list(builder.cache_ids)[1], f" {top}"):
        assert found.find(text) == top
    assert found.find(next(r for r in record if r.cache_id == top).diff_id) == top
    assert found.find(own[:10]) == own
    assert found.find(init) == init
    assert found.find(f"{init[:10]}-init") == init


def test_a_whole_id_is_enough_for_what_is_no_layer_any_more(builder: StoreBuilder) -> None:
    left = LayerId("e" * 64)
    builder.layout.layer(left).mkdir()
    found = home(builder)
    assert found.find(left) == left
    with pytest.raises(WrongUsage):
        found.find(left[:20])


@pytest.mark.parametrize("text", ["", NOWHERE, "nonsense", "../x", "-init", "x-init"])
def test_a_layer_that_is_not_there(builder: StoreBuilder, text: str) -> None:
    with pytest.raises(WrongUsage, match="there is no layer"):
        home(builder).find(text)


def test_an_ambiguous_id_lists_what_it_fits(builder: StoreBuilder) -> None:
    twins = [LayerId(f"abcd{digit}" + "0" * 59) for digit in "12"]
    for twin in twins:
        place = builder.layout.root if builder.layout.driver == OVERLAY else builder.layout.upper
        write_tree(place(twin), {})
        if builder.layout.driver == OVERLAY2:
            builder._write_stacked(twin, {}, None)
    with pytest.raises(WrongUsage) as caught:
        home(builder).find("abcd")
    assert caught.value.details.splitlines() == twins


def test_the_parents_that_the_store_knows(builder: StoreBuilder) -> None:
    found = home(builder)
    base, top, init, own = layers(builder)
    assert [found.parent(layer, None, none=False) for layer in (base, top, init, own)] == [
        None,
        base,
        top,
        init,
    ]
    assert found.parent(own, base[:12], none=False) == base
    assert found.parent(own, None, none=True) is None
    with pytest.raises(WrongUsage, match="either"):
        found.parent(own, base, none=True)


def test_the_parent_of_a_layer_without_record(builder: StoreBuilder) -> None:
    base, top, init, own = layers(builder)
    shutil.rmtree(builder.layout.image)
    found = home(builder)
    if builder.layout.driver == OVERLAY2:
        assert found.parent(top, None, none=False) == base
        assert found.parent(base, None, none=False) is None
        assert found.parent(own, None, none=False) == init
        return
    assert found.parent(own, None, none=False) == top
    with pytest.raises(WrongUsage) as caught:
        found.parent(top, None, none=False)
    assert "--no-parent" in caught.value.resolution


def test_the_parent_of_a_container_without_its_image(builder: StoreBuilder) -> None:
    init = layers(builder)[2]
    shutil.rmtree(builder.layout.record(list(builder.cache_ids)[1]))
    with pytest.raises(BrokenStore, match="is missing"):
        home(builder).parent(init, None, none=False)


def test_buildkits_layer_stands_on_what_its_record_says(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path)
    base = builder.layer({"a": b"a"})
    middle = builder.layer({"b": b"b"}, base, buildkit=True)
    found = home(builder)
    assert found.parent(builder.cache_ids[middle], None, none=False) == builder.cache_ids[base]


def test_who_needs_a_layer(builder: StoreBuilder) -> None:
    found = home(builder)
    base, top, init, own = layers(builder)
    assert {"image app:1, app:latest", "image base:1"} <= set(found.needed_by(base))
    assert found.needed_by(own) == ["container c"]
    on_top = [user for user in found.needed_by(top) if user.startswith("layer")]
    assert on_top == [f"layer {x.short}, which stands on it" for x in sorted([init, own])]
    assert not [u for u in found.needed_by(top, besides=[init, own]) if u.startswith("layer")]


def test_a_broken_record_still_needs_its_layer(builder: StoreBuilder) -> None:
    (builder.layout.record(list(builder.cache_ids)[1]) / "size").write_text("")
    found = home(builder)
    assert "a layer record that is broken or half removed" in found.needed_by(layers(builder)[1])


def test_a_needed_layer_is_not_removed(builder: StoreBuilder, ovl1: Ovl1) -> None:
    own = layers(builder)[3]
    for more in ([], ["--dry-run"]):
        assert ovl1("rm", own, *more) == ""
        assert ovl1.code == 3
        assert f"{own.short} is needed by container c" in ovl1.err
    assert builder.layout.layer(own).is_dir()


def test_a_dry_run_removes_nothing(builder: StoreBuilder, ovl1: Ovl1) -> None:
    base, top, init, own = layers(builder)
    shutil.rmtree(builder.layout.image)
    wanted = [top, own, base, init]
    found = ovl1.json("rm", "--dry-run", *wanted)
    assert ovl1.code == 0, ovl1.err
    assert found["dry_run"]
    assert set(found["removed"]) == set(wanted)
    # Those on top first.
    assert found["removed"].index(own) < found["removed"].index(top)
    assert all(builder.layout.layer(layer).is_dir() for layer in wanted)
    assert ovl1("rm", "--dry-run", own) == f"Would remove {own}.\n"
    assert ovl1("rm", "--dry-run", top) == ""
    assert ovl1.code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "short"], "64 hexadecimal digits"),
        (["create", "--parent", NOWHERE], "there is no layer"),
        (["apply", NOWHERE, "/dev/null"], "there is no layer"),
        (["apply", NOWHERE, "/no/where"], "No such file"),
        (["apply", NOWHERE, "/dev/null", "--max-bytes", "0"], "--max-bytes"),
        (["diff", NOWHERE], "there is no layer"),
        (["diff", NOWHERE, "--json"], "-o FILE"),
        (["changes"], "Missing argument"),
        (["rm"], "Missing argument"),
        (["mount", NOWHERE], "there is no layer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(builder: StoreBuilder, ovl1: Ovl1, arguments: List[str], words: str) -> None:
    assert ovl1(*arguments) == ""
    assert ovl1.code == 2
    assert words in ovl1.err


def test_there_must_be_a_store(ovl1: Ovl1) -> None:
    for arguments in (["changes", NOWHERE], ["create", "--parent", NOWHERE]):
        ovl1(*arguments)
        assert ovl1.code == 2
        assert "no overlay store" in ovl1.err
    assert not list(ovl1.data_root.iterdir())


def test_a_tar_is_not_for_terminals(
    builder: StoreBuilder, ovl1: Ovl1, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = layers(builder)[1]
    main, terminal = os.openpty()
    with os.fdopen(main), os.fdopen(terminal, "w") as stdout, open(
        terminal, closefd=False
    ) as stdin:
        monkeypatch.setattr(sys, "stdout", stdout)
        ovl1("diff", top)
        assert (ovl1.code, "not for the terminal" in ovl1.err) == (2, True)
        monkeypatch.setattr(sys, "stdin", stdin)
        ovl1("apply", top, "-")
        assert (ovl1.code, "cannot be typed in" in ovl1.err) == (2, True)


def test_a_tar_that_is_cut_short_replaces_no_file(tmp_path: Path) -> None:
    target = tmp_path / "layer.tar"
    target.write_text("as it was")
    with pytest.raises(TypeError), tar_target(str(target)) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert [path.name for path in tmp_path.iterdir()] == ["layer.tar"]
    assert target.read_text() == "as it was"
    (tmp_path / "link").symlink_to("layer.tar")
    with tar_target(str(tmp_path / "link")) as file:
        file.write(b"whole")
    assert target.read_bytes() == b"whole"
    assert (tmp_path / "link").is_symlink()


def test_ls_all_shows_layers_without_a_record(builder: StoreBuilder, ovl1: Ovl1) -> None:
    base, top, init, own = layers(builder)
    builder.layout.layer(LayerId("e" * 64)).mkdir()
    rows = [line.split() for line in ovl1("ls", "--all").splitlines()[1:]]
    assert [row[2] for row in rows[:2]] == [base.short, top.short]
    kind = "read-write" if builder.layout.driver == OVERLAY else "stacked"
    below = top if builder.layout.driver == OVERLAY else init
    assert ["-", "-", own.short, "-", kind, "-", "-", below.short] in rows
    assert len(rows) == 5
    others = ovl1.json("ls", "--all")[2:]
    assert {other["cache_id"] for other in others} == {init, own, "e" * 64}
    assert [other["reason"] for other in others if other["kind"] == "leftover"] != [None]
    assert len(ovl1.json("ls")) == 2
    assert set(ovl1("ls", "-a", "--no-trunc").split()) >= {init, own}


def test_inspecting_a_layer_without_a_record(builder: StoreBuilder, ovl1: Ovl1) -> None:
    own = layers(builder)[3]
    found = ovl1.json("inspect", own[:12])
    assert (found["cache_id"], found["chain_id"]) == (own, None)
    assert found["containers"] == list(builder.open().containers)
    assert found["paths"][0] in ovl1("inspect", own)
    left = LayerId("e" * 64)
    builder.layout.layer(left).mkdir()
    assert ovl1.json("inspect", left)["paths"] == []


def completions(data_root: Path, *arguments: str, word: str) -> List[str]:
    shell = ShellComplete(cli, {}, "ovl1", "_OVL1_COMPLETE")
    before = ["--data-root", str(data_root), "layer", *arguments]
    return [item.value for item in shell.get_completions(before, word)]


def test_ids_are_completed(builder: StoreBuilder, tmp_path: Path) -> None:
    own = layers(builder)[3]
    (builder.layout.home / "evil\x1b").mkdir()
    assert completions(tmp_path, "mount", word=own[:63]) == [own, f"{own}-init"]
    assert completions(tmp_path, "rm", own, word=own[:63]) == [own, f"{own}-init"]
    assert own in completions(tmp_path, "changes", own, "--parent", word="")
    assert completions(tmp_path, "mount", word="evil") == []
    assert completions(tmp_path / "nowhere", "mount", word="") == []
    assert "create" in completions(tmp_path, word="c")


def test_a_chain_id_leads_to_the_tree(builder: StoreBuilder) -> None:
    top: ChainId = list(builder.cache_ids)[1]
    assert home(builder).find(top[:20]) == builder.cache_ids[top]
