"""Images in and out, against ``docker load`` and ``docker save``, in both layouts."""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

from ovl1.linux.durable import sync_file_system
from ovl1.linux.loopback import GIB, loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import Entry, layer_tar, layers_archive
from tools.bench.layers import base_layer, number_of_entries
from tools.bench.measure import Argument, Samples, Table, run, settle, timed

MIB = 1 << 20
_IMAGE = "bench:1"
_LOAD, _SAVE = "docker load", "docker save"


def images(options: Namespace) -> Dict[str, Table]:
    """An image of some layers, from an archive and into one, by Docker and by ovl1 in turn."""
    layers = list(made_layers(options))
    samples = Samples()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="b-") as name:
        work = Path(name)
        (work / "plain.tar").write_bytes(layers_archive(layers, [_IMAGE]))
        packed = [gzip.compress(layer, 6) for layer in layers]
        (work / "gzip.tar").write_bytes(layers_archive(packed, [_IMAGE], plain=layers))
        for number in range(options.runs):
            contestants = [_docker, _ovl1]
            for contestant in contestants[:: -1 if number % 2 else 1]:
                for driver in (OVERLAY, OVERLAY2):
                    with loop_file_system("ext4", work, 16 * GIB) as disk:
                        contestant(disk, work, driver, samples)
    table = samples.table()
    about = {"layers": len(layers), "MiB": sum(map(len, layers)) / MIB}
    about["entries"] = sum(map(number_of_entries, layers))
    return {"images": _with_ratios(table), "the image": {"all": about}}


def made_layers(options: Namespace) -> Iterator[bytes]:
    """A distribution's tree, and layers that add to it and replace some of it."""
    yield base_layer(options.directory, usr=options.usr, entries=options.files)
    chosen = random.Random(0)
    for layer in range(1, options.layers):
        sizes = [chosen.randrange(2 * options.layer_bytes // 300) for _ in range(300)]
        yield layer_tar([*_application(layer, sizes, chosen)])


def _application(layer: int, sizes: Sequence[int], chosen: random.Random) -> Iterator[Entry]:
    for number, size in enumerate(sizes):
        # Half of it as dense as libraries are, half as text.
        dense = chosen.getrandbits(8 * (size // 2)).to_bytes(size // 2, "big") if size > 1 else b""
        text = (b"%d line of text\n" % number) * (size // 32 + 1)
        yield Entry(f"opt/{layer}/{number % 20}/{number}", content=dense + text)
    # Each layer replaces a few files of the one before.
    for number in range(10 if layer > 1 else 0):
        yield Entry(f"opt/{layer - 1}/{number % 20}/{number}", content=b"newer\n" * 1000)


def _docker(disk: Path, work: Path, driver: str, samples: Samples) -> None:
    for form in ("plain", "gzip"):
        with Daemon(disk / form, driver, work / "d") as daemon:
            settle()
            with (work / f"{form}.tar").open("rb") as stream, timed() as seconds:
                daemon.docker("load", source=stream)
                sync_file_system(disk)
            samples.add(f"{driver}, {form}: {_LOAD}", {"seconds": seconds[0]})
            if form == "plain":
                settle()
                with timed() as seconds:
                    daemon.docker("save", "-o", str(disk / "saved.tar"), _IMAGE)
                    sync_file_system(disk)
                samples.add(f"{driver}: {_SAVE}", {"seconds": seconds[0]})


def _ovl1(disk: Path, work: Path, driver: str, samples: Samples) -> None:
    for form in ("plain", "gzip"):
        (disk / form).mkdir()
        settle()
        done = _run(disk, form, driver, "load", work / f"{form}.tar")
        samples.add(f"{driver}, {form}: ovl1", done)
    settle()
    samples.add(
        f"{driver}: ovl1 image save",
        _run(disk, "plain", driver, "save", _IMAGE, "-o", disk / "saved.tar"),
    )


def _run(disk: Path, data_root: str, driver: str, *command: Argument) -> Dict[str, float]:
    """The whole process with Python's start, until everything is on the disk."""
    wrapper = Path(__file__).with_name("peak.py")
    arguments: List[Argument] = [sys.executable, wrapper, sys.executable, "-m", "ovl1", "-q"]
    arguments += ["--data-root", disk / data_root, "--driver", driver, "image", *command]
    with timed() as seconds:
        said = json.loads(run(arguments).output)
        sync_file_system(disk)
    return {"seconds": seconds[0], "cpu": said["cpu"], "MiB": said["peak"] / MIB}


def _with_ratios(table: Table) -> Table:
    for row, figures in table.items():
        group = row.split(":")[0]
        other = table.get(f"{group}: {_LOAD}") or table[f"{group}: {_SAVE}"]
        figures["of Docker"] = figures["seconds"] / other["seconds"]
    return dict(sorted(table.items()))
