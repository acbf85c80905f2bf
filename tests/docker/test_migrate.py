"""A migrated store under a real overlay2 daemon says the same as the old one under overlay."""

from __future__ import annotations

import collections
import os
import shutil
import sys
from pathlib import Path
from typing import Counter, Iterable

import pytest

from tests.docker import trees, truth
from tests.docker.conftest import NastyStore, start_all
from tests.docker.daemon import Daemon, DaemonError, DockerError
from tests.docker.nasty_layers import REFUSED_BY_OVERLAY2
from tests.docker.ovl1 import REFUSED, migrate, ovl1
from tests.support.child import command, in_child
from tests.support.moments import AFTER, KILLED, Point, killed

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(900),
]


def assert_none(differences: Iterable[str]) -> None:
    """All of them are of interest, and pytest would cut a comparison short."""
    found = list(differences)
    assert not found, "\n".join(found)


def assert_same(store: NastyStore, daemon: Daemon) -> None:
    """The daemon says what the old one said."""
    assert_none(truth.compare(store.truth, truth.record(daemon)))


def test_life_goes_on_until_docker_removes_it_all(store: NastyStore, full: bool) -> None:
    migrate(store.data_root)
    with store.daemon("overlay2") as daemon:
        assert start_all(daemon) == store.starts
        daemon.kill_containers()
        daemon.docker("commit", "rebuilt", "after/committed:1")
        daemon.build("after/built:1", "FROM nasty/odd:on-top\nRUN rm -r /times && echo x > /x\n")
        for image in ("after/committed:1", "after/built:1"):
            daemon.docker("run", "--rm", "--network=none", image, "sh", "-c", "echo x > /new")
        if full:
            before = truth.record(daemon)
            daemon.stop()
            daemon.start()
            assert_none(truth.compare(before, truth.record(daemon)))
            assert truth.saved(store.truth).items() <= truth.saved(before).items()
        daemon.docker("rm", "-f", *daemon.docker("ps", "-aq").split())
        daemon.docker("image", "prune", "-af")
        daemon.docker("builder", "prune", "-af")
        assert daemon.docker("images", "-aq") == ""
    assert trees.layers(store.data_root) == {}
    assert os.listdir(store.data_root / "overlay2") == ["l"]
    assert os.listdir(store.data_root / "overlay2/l") == []


@pytest.mark.needs("buildkit")
def test_buildkits_cache_is_still_good(store: NastyStore) -> None:
    """A step that gives something else each time gives the same image only from the cache."""
    steps = "RUN cat /proc/sys/kernel/random/uuid > /uuid\nRUN mv /uuid /once && rm -r /times\n"
    dockerfile = f"FROM nasty/odd:on-top\n{steps}"
    with store.daemon("overlay") as daemon:
        daemon.kill_containers()
        before = daemon.build("cached:1", dockerfile, buildkit=True)
    migrate(store.data_root)
    with store.daemon("overlay2") as daemon:
        assert daemon.build("cached:1", dockerfile, buildkit=True) == before
        daemon.docker("run", "--rm", "--network=none", "cached:1", "cat", "/once")


def test_rollback_leaves_no_trace(store: NastyStore, full: bool) -> None:
    before = trees.manifest(store.data_root)
    ovl1(store.data_root, "migrate", "run")
    ovl1(store.data_root, "migrate", "rollback")
    assert_none(trees.changed(before, trees.manifest(store.data_root)))
    if full:  # What is the same to the inode is so to Docker, too.
        with store.daemon("overlay") as daemon:
            assert_same(store, daemon)


def test_all_is_the_same_and_so_it_is_after_a_rollback(store: NastyStore) -> None:
    """To daemons that were told no driver, or `overlay`; the first ones write to the store, too."""
    migrate(store.data_root)
    with store.daemon(None) as daemon:
        assert daemon.docker("info", "-f", "{{.Driver}}") == "overlay2"
        assert_same(store, daemon)
    ovl1(store.data_root, "migrate", "rollback")
    with store.daemon("overlay") as daemon:
        assert_same(store, daemon)


def test_purge_keeps_all_that_is_needed(store: NastyStore) -> None:
    migrate(store.data_root)
    ovl1(store.data_root, "migrate", "purge")
    assert [path.name for path in store.data_root.glob("*overlay*")] == ["overlay2"]
    with store.daemon(None) as daemon:
        assert daemon.docker("info", "-f", "{{.Driver}}") == "overlay2"
        assert_same(store, daemon)


def test_nothing_is_touched_while_a_daemon_runs(store: NastyStore) -> None:
    with store.daemon("overlay") as daemon:
        daemon.kill_containers()
        before = without_daemons_own(store.data_root)
        ovl1(store.data_root, "migrate", "plan")
        ovl1(store.data_root, "migrate", "run", expect=REFUSED)
        assert_none(trees.changed(before, without_daemons_own(store.data_root)))


def test_in_place_and_back(store: NastyStore) -> None:
    """Once more without a second store; the way back makes the old layers again."""
    ovl1(store.data_root, "migrate", "run", "--in-place")
    assert [path.name for path in store.data_root.glob("*overlay*")] == ["overlay2"]
    with store.daemon("overlay2") as daemon:
        assert_same(store, daemon)
    ovl1(store.data_root, "migrate", "rollback")
    with store.daemon("overlay") as daemon:
        assert_same(store, daemon)
        assert start_all(daemon) == store.starts


@pytest.mark.parametrize("step", ["MakeLayers.do", "SwitchDriver.do"])
def test_no_daemon_starts_on_half_a_store(store: NastyStore, step: str, full: bool) -> None:
    stopped = killed(Point(step, 0, AFTER), command(store.data_root, "migrate", "run"))
    assert in_child(stopped).code == KILLED
    for driver in ("overlay", "overlay2", None):
        with pytest.raises(DaemonError, match="not a directory"):
            store.daemon(driver).start()
    assert [path.name for path in store.data_root.glob("vfs*")] == []
    ovl1(store.data_root, "migrate", "resume")
    if full or step == "MakeLayers.do":  # Of the other little is left to do.
        with store.daemon("overlay2") as daemon:
            assert_same(store, daemon)


def without_daemons_own(data_root: Path) -> dict[bytes, tuple[object, ...]]:
    """The manifest, save for databases that a daemon at work writes to when it likes."""
    found = trees.manifest(data_root)
    return {path: entry for path, entry in found.items() if not path.startswith(b"containerd/")}


def test_layers_are_what_docker_load_makes(
    store: NastyStore, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(store.data_root)
    loaded = store.data_root.with_name("loaded")
    try:
        listed, refused = load_all(store, loaded)
        assert refused == {REFUSED_BY_OVERLAY2}
        excused: Counter[str] = collections.Counter()
        unexplained = compare_layers(store.data_root, loaded, listed, excused)
    finally:
        shutil.rmtree(loaded)
    with capsys.disabled():
        report = [f"{count:6} {what}" for what, count in excused.items()]
        sys.stdout.write("\n".join(["", *report, f"refused by overlay2: {refused}", ""]))
    assert_none(unexplained)


def load_all(store: NastyStore, target: Path) -> tuple[dict[str, trees.Listed], set[str]]:
    """Copy all images by ``save`` and ``load``; what their layers list, and who was refused."""
    archive = store.work / "archive"
    listed: dict[str, trees.Listed] = {}
    refused = set()
    with store.daemon("overlay2") as source, Daemon(
        target, "overlay2", store.work / "loading"
    ) as loading:
        for image in truth.saved(store.truth):
            source.docker("save", "-o", str(archive), image)
            with archive.open("rb") as file:
                listed.update(trees.listed_by_layers(file))
            try:
                loading.docker("load", "-i", str(archive))
            except DockerError:
                refused.update(store.truth["images"][image]["inspect"]["RepoTags"])
    archive.unlink()
    return listed, refused


def compare_layers(
    data_root: Path, dockers: Path, listed: dict[str, trees.Listed], excused: Counter[str]
) -> list[str]:
    """The differences that nothing excuses, over all layers that Docker made."""
    ours, its = trees.layers(data_root), trees.layers(dockers)
    excused["layers compared"] = len(its)
    unexplained = []
    for chain, layer in its.items():
        below = lower_layers(its, layer)
        old = data_root / "overlay.ovl1-old" / ours[chain].cache_id
        comparison = trees.Comparison(
            ours=ours[chain].nodes,
            dockers=layer.nodes,
            listed=listed[layer.diff_id],
            shown=trees.nodes(old / ("root" if (old / "root").exists() else "upper")),
            below=collections.ChainMap(*(lower.nodes for lower in below)),
            under_root_entry=any(b"" in listed[one.diff_id].names for one in (layer, *below)),
        )
        unexplained += [f"{chain[:19]}: {text}" for text in comparison.unexplained(excused)]
    return unexplained


def lower_layers(layers: dict[str, trees.Layer], layer: trees.Layer) -> list[trees.Layer]:
    """The layers that `layer` stands on, the topmost first."""
    below = []
    while layer.parent:
        layer = layers[layer.parent]
        below.append(layer)
    return below
