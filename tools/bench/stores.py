"""Against Docker itself: applying layers, finding changes, and the inodes that all of it takes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

from ovl1.linux.durable import sync_file_system
from ovl1.linux.loopback import GIB, loop_file_system
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.writer import create_store
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import Entry, layer_tar, layers_archive
from tools.bench.layers import base_layer, changes, number_of_entries
from tools.bench.measure import Call, Samples, Table, call, run, settle, timed

_LOWER, _UPPER = "0" * 64, "1" * 64
_LOAD = "docker load"


def apply(options: Namespace) -> Table:
    """A base layer, and the same again as a second layer, which replaces every file."""
    base = base_layer(options.directory, usr=options.usr, entries=options.files)
    samples = Samples()
    for number in range(options.runs):
        with tempfile.TemporaryDirectory(dir=options.directory, prefix="b-") as name:
            work = Path(name)
            (work / "layer.tar").write_bytes(base)
            (work / "1.tar").write_bytes(layers_archive([base], ["bench:1"]))
            (work / "2.tar").write_bytes(layers_archive([base, base], ["bench:2"]))
            # Each goes first once: what comes later finds less memory that is ready to be used.
            contestants = [_load, _apply, _register_both, _extract]
            first = number % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                with loop_file_system("ext4", work, 8 * GIB) as disk:
                    contestant(disk, work, samples)
    table = samples.table()
    for layer in ("base", "second"):
        rows = {row: figures for row, figures in table.items() if row.startswith(layer)}
        for other in (_LOAD, "tar -x"):
            for figures in rows.values():
                figures[f"of {other}"] = figures["seconds"] / rows[f"{layer}: {other}"]["seconds"]
    table["the layer"] = {"entries": number_of_entries(base), "MiB": len(base) / (1 << 20)}
    return table


def _load(disk: Path, work: Path, samples: Samples) -> None:
    with Daemon(disk / "docker", "overlay", work / "d") as daemon:
        for layer, archive in (("base", "1.tar"), ("second", "2.tar")):
            settle()
            with (work / archive).open("rb") as stream, timed() as seconds:
                daemon.docker("load", source=stream)
                sync_file_system(disk)
            samples.add(f"{layer}: {_LOAD}", {"seconds": seconds[0]})


def _apply(disk: Path, work: Path, samples: Samples) -> None:
    (disk / "overlay").mkdir()
    for layer, parents in (("base", [_LOWER]), ("second", [_UPPER, _LOWER])):
        settle()
        with (work / "layer.tar").open("rb") as stream:
            done = call("apply", disk, work / "run", *parents, stdin=stream)
        _add(samples, f"{layer}: ovl1", done)


def _register_both(disk: Path, work: Path, samples: Samples) -> None:
    create_store(Layout(disk, OVERLAY))
    chain: List[str] = []
    for layer in ("base", "second"):
        settle()
        with (work / "layer.tar").open("rb") as stream:
            done = call("register", disk, *chain, stdin=stream)
        chain = [done.answer]
        _add(samples, f"{layer}: ovl1, with digest and tar-split", done)


def _add(samples: Samples, name: str, done: Call) -> None:
    samples.add(name, done.figures)
    samples.add(f"{name}, with Python's start", done.whole.figures)


def _extract(disk: Path, work: Path, samples: Samples) -> None:
    for layer in ("base", "second"):
        target = disk / layer
        settle()
        with timed() as seconds:
            if layer == "second":
                run(["cp", "-al", disk / "base", target])
            else:
                target.mkdir()
            run(
                ["tar", "-x", "--numeric-owner", "--xattrs", "-C", target, "-f", work / "layer.tar"]
            )
            sync_file_system(disk)
        samples.add(f"{layer}: tar -x", {"seconds": seconds[0]})


def diff(options: Namespace) -> Table:
    """A container with ten changes, on images of different sizes."""
    samples = Samples()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="b-") as name:
        work = Path(name)
        with loop_file_system(
            "ext4", work, 8 * GIB, inodes=4 * max(options.sizes) + 50_000
        ) as disk, Daemon(disk / "docker", "overlay", work / "d") as daemon:
            for size in options.sizes:
                layer = _changed_container(daemon, size)
                for _ in range(max(3, options.runs)):
                    for row, figures in _diffs(daemon, layer, size):
                        samples.add(f"{size:,} files: {row}", figures)
    table = samples.table()
    for size in options.sizes:
        rows = {row: of for row, of in table.items() if row.startswith(f"{size:,} files: ")}
        docker = rows[f"{size:,} files: docker diff"]["seconds"]
        for figures in rows.values():
            figures["of docker diff"] = figures["seconds"] / docker
    return table


def _changed_container(daemon: Daemon, size: int) -> str:
    """The id of its layer."""
    files = [Entry(f"dir-{i // 100}/sub/file-{i}", content=b"%d" % i) for i in range(size)]
    container = f"of-{size}"
    daemon.docker("import", "-", f"bench:{size}", stdin=layer_tar(files))
    daemon.docker("create", "--network=none", "--name", container, f"bench:{size}", "true")
    changed = [
        *(Entry(f"dir-0/sub/file-{i}", content=b"changed") for i in range(5)),
        *(Entry(f"dir-1/new-{i}", content=b"new") for i in range(5)),
    ]
    daemon.docker("cp", "-", f"{container}:/", stdin=layer_tar(changed))
    upper = daemon.docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", container)
    return Path(upper).parent.name


def _diffs(daemon: Daemon, layer: str, size: int) -> Iterator[Tuple[str, Dict[str, float]]]:
    with timed() as seconds:
        said = len(daemon.docker("diff", f"of-{size}").splitlines())
    yield "docker diff", {"seconds": seconds[0], "changes": said}
    for how, name in (("exact", "ovl1"), ("docker", "ovl1, as Docker")):
        done = call("changes", daemon.data_root, daemon.work / "run", layer, how)
        yield name, {**done.figures, "changes": done.answer}
        if how == "exact":
            yield f"{name}, with Python's start", done.whole.figures


def inodes(options: Namespace) -> Table:
    """What an image of five layers takes, by statvfs: in Docker's own store, and in ovl1's."""
    base = base_layer(options.directory, usr=True, entries=options.files)
    layers = [base, *map(layer_tar, changes(base, 4))]
    table: Table = {}
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="b-") as name:
        work = Path(name)
        with loop_file_system("ext4", work, 8 * GIB) as disk:
            with Daemon(disk / "docker", "overlay", work / "d") as daemon, counted(disk) as used:
                daemon.docker("load", stdin=layers_archive(layers, ["bench:inodes"]))
            table["docker load"] = {"inodes": used[0]}
        with loop_file_system("ext4", work, 8 * GIB) as disk:
            create_store(Layout(disk / "store", OVERLAY))
            with counted(disk) as used:
                _register(disk / "store", layers, work)
            table["ovl1"] = {"inodes": used[0]}
    for figures in table.values():
        figures["of docker load"] = figures["inodes"] / table["docker load"]["inodes"]
    return table


def _register(data_root: Path, layers: Sequence[bytes], work: Path) -> None:
    chain = ""
    for layer in layers:
        (work / "layer.tar").write_bytes(layer)
        with (work / "layer.tar").open("rb") as stream:
            chain = call("register", data_root, *filter(None, [chain]), stdin=stream).answer


@contextlib.contextmanager
def counted(disk: Path) -> Iterator[List[int]]:
    """How many inodes the block takes, as the only number of a list, which is there after it."""
    result: List[int] = []
    before = os.statvfs(disk).f_ffree
    yield result
    result.append(before - os.statvfs(disk).f_ffree)
