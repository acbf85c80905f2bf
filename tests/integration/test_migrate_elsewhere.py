"""A migration to another data-root, on another file system: the old one is only read."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

import pytest

from ovl1.linux.loopback import loop_file_system
from tests.support.child import Ended, command, in_child
from tests.support.layers import entry
from tests.support.manifest import Entry, differences, manifest
from tests.support.moments import AFTER, BEFORE, KILLED, Point, killed
from tests.support.store_builder import StoreBuilder, real_store

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")


class Pair(NamedTuple):
    """Two data-roots, and what the first one is."""

    old: Path
    new: Path
    before: Dict[bytes, Entry]

    def run(self, *options: str) -> Ended:
        return in_child(command(self.old, "migrate", "run", "--to", str(self.new), *options))

    def do(self, *arguments: str) -> Ended:
        return in_child(command(self.new, "migrate", *arguments))

    def old_is_as_before(self) -> None:
        assert differences(self.before, manifest(self.old)) == []

    def new_is_whole(self) -> None:
        """It shows what the old one shows, under overlay2, and can do without it."""
        assert self.do("verify").code == 0
        certificate = json.loads((self.new / ".ovl1/certificate.json").read_text())
        assert certificate["passed"]
        assert certificate["diff_ids"]
        assert self.do("purge").code == 0
        proof = in_child(command(self.new, "image", "verify", "--all"))
        assert proof.code == 0, proof
        assert tops(self.new) == ["containers", "image", "overlay2", "volumes"]
        (config,) = (self.new / "containers").glob("*/config.v2.json")
        assert json.loads(config.read_text())["Driver"] == "overlay2"
        rest = rest_of(self.old)
        assert rest_of(self.new) == rest
        assert len(rest) > 3


def tops(root: Path) -> List[str]:
    return sorted(set(os.listdir(root)) - {"lost+found"})


def rest_of(root: Path) -> Dict[bytes, Entry]:
    """What is no driver's, but for the file that names the driver, and what other disks change."""
    return {
        name: entry._replace(inode=0, size=0 if stat.S_ISDIR(entry.mode) else entry.size)
        for name, entry in manifest(root).items()
        if name.startswith((b"volumes", b"containers"))
        and not name.endswith(b"config.v2.json")
        and name.count(b"/") != 1
    }


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with loop_file_system("ext4", tmp_path / "a", 64 << 20) as first, loop_file_system(
        "ext4", tmp_path / "b", 64 << 20
    ) as second:
        old = first / "docker"
        old.mkdir()
        real_store(old)
        volume = old / "volumes/v/_data"
        volume.mkdir(parents=True)
        # What a Docker inside a container leaves in its volume is data, not structure.
        os.mknod(volume / "whiteout", 0o20000, 0)
        os.setxattr(volume, "trusted.overlay.opaque", b"y")
        (volume / "a").write_bytes(b"x")
        os.link(volume / "a", volume / "b")
        with (volume / "sparse").open("wb") as file:
            file.truncate(1 << 22)
        yield Pair(old, second / "docker", manifest(old))


def test_all_of_it_is_there_and_nothing_is_left_here(pair: Pair) -> None:
    ended = pair.run()
    assert ended.code == 0, ended
    pair.old_is_as_before()
    assert (pair.new / "volumes/v/_data/a").stat().st_nlink == 2
    assert (pair.new / "volumes/v/_data/sparse").stat().st_blocks == 0
    pair.new_is_whole()
    pair.old_is_as_before()


def test_what_it_makes_is_what_it_makes_in_place(pair: Pair) -> None:
    """The layers, entry by entry, but for numbers of inodes and names, and times of whiteouts."""
    assert pair.run().code == 0
    assert in_child(command(pair.old, "migrate", "run")).code == 0
    one, other = (layers(root) for root in (pair.new, pair.old))
    assert one == other


def layers(root: Path) -> Dict[bytes, Entry]:
    return {
        name: entry._replace(
            inode=0,
            nlink=0,
            size=0 if stat.S_ISDIR(entry.mode) else entry.size,
            mtime_ns=0 if stat.S_ISCHR(entry.mode) else entry.mtime_ns,
        )
        for name, entry in manifest(root / "overlay2").items()
        if b"/diff/" in name
    }


POINTS = [
    Point("Journal.add", number, when) for number in range(0, 25, 8) for when in (BEFORE, AFTER)
] + [Point("MakeLayers.do", 0, AFTER), Point("Move.do", 0, AFTER), Point("Move.do", 2, BEFORE)]


@pytest.mark.parametrize("way", ["resume", "rollback"])
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_killed(pair: Pair, point: Point, way: str) -> None:
    action = command(pair.old, "migrate", "run", "--to", str(pair.new))
    assert in_child(killed(point, action)).code in (KILLED, 0)
    pair.old_is_as_before()
    state = json.loads(pair.do("status", "--json").out)["state"]
    if way == "rollback" or state == "empty":
        assert pair.do("rollback").code == 0
        assert tops(pair.new) == []
        assert pair.run().code == 0
    elif state != "verified":
        ended = pair.do("resume")
        assert ended.code == 0, ended
    pair.new_is_whole()
    pair.old_is_as_before()


@pytest.mark.parametrize("where", ["here", "inside", "around", "full", "file", "nowhere"])
def test_places_that_will_not_do(pair: Pair, where: str) -> None:
    targets = {
        "here": pair.old,
        "inside": pair.old / "new",
        "around": pair.old.parent,
        "full": pair.new,
        "file": pair.new / "file",
        "nowhere": pair.new / "no/where",
    }
    pair.new.mkdir()
    (pair.new / "file").touch()
    target = targets[where]
    ended = in_child(command(pair.old, "migrate", "run", "--to", str(target)))
    assert ended.code == 3, ended
    pair.old_is_as_before()
    assert tops(pair.new) == ["file"]


def test_no_room(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with loop_file_system("ext4", tmp_path / "c", 64 << 20, inodes=64) as small:
        target = small / "docker"
        ended = in_child(command(pair.old, "migrate", "run", "--to", str(target)))
        assert ended.code == 5, ended
        assert "free inodes are needed" in ended.err
    pair.old_is_as_before()


def test_names_of_a_file_in_a_layer_below(pair: Pair) -> None:
    """Docker's v1 driver lets a layer link to them; in a copy it is one file again."""
    old = pair.old.with_name("linked")
    old.mkdir()
    builder = StoreBuilder(old)
    base = builder.real_layer([entry("d", tarfile.DIRTYPE), entry("d/base", data=b"b", mtime=5)])
    middle = builder.real_layer([entry("d/other", data=b"o")], base)
    links = [("d/z", "d/base"), ("d/a", "./d/z"), ("d/o", "d/other"), ("d/own", "d/new")]
    made = [entry(name, tarfile.LNKTYPE, linkname=target) for name, target in links]
    top = builder.real_layer([entry("d/new", data=b"n"), *made, entry("e", data=b"")], middle)
    roots = [builder.layout.root(builder.cache_ids[chain_id]) for chain_id in (base, middle, top)]
    # As Docker leaves them, which gives the file in the layer below what the link's header says.
    for layer, target, name in ((0, "base", "z"), (0, "base", "a"), (1, "other", "o")):
        for path in (roots[2] / "d" / target, roots[2] / "d" / name):
            path.unlink()
            os.link(roots[layer] / "d" / target, path)
    for number, chain_id in enumerate((base, middle, top)):
        builder.image(chain_id, f"i:{number}")

    linked = pair._replace(old=old, before=manifest(old))
    ended = linked.run()
    assert ended.code == 0, ended
    linked.old_is_as_before()
    diffs = [linked.new / "overlay2" / builder.cache_ids[c] / "diff" for c in (base, middle, top)]
    assert (diffs[2] / "d/z").samefile(diffs[0] / "d/base")
    assert (diffs[2] / "d/a").samefile(diffs[0] / "d/base")
    assert (diffs[2] / "d/o").samefile(diffs[1] / "d/other")
    assert (diffs[2] / "d/own").samefile(diffs[2] / "d/new")
    assert (diffs[2] / "d").stat().st_mtime_ns == (roots[2] / "d").stat().st_mtime_ns
    assert linked.do("verify").code == 0


def test_what_cannot_be_copied(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all is taken back, and the exit code says so."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "cp").write_text("#!/bin/sh\necho cp: no, never >&2\nexit 1\n")
    (tmp_path / "cp").chmod(0o755)
    ended = pair.run()
    assert ended.code == 5, ended
    assert "cannot copy" in ended.err
    assert "cp: no, never" in ended.err
    assert "was taken back" in ended.err
    assert tops(pair.new) == []
    pair.old_is_as_before()
