"""The same docker commands on Docker's own drivers and on ovl1's, behind its plugin."""

from __future__ import annotations

import contextlib
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple

from ovl1.linux.durable import sync_file_system
from ovl1.linux.loopback import GIB, loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import layers_archive
from tests.docker.plugged import plugged
from tools.bench.layers import base_layer, number_of_entries
from tools.bench.measure import Figures, Samples, Table, settle, timed

IMAGE = "bench:1"
_EDIT = (
    "for n in 1 2 3 4 5 6 7 8; do echo $n >/bench-$n; done; rm /bench-dir/gone; "
    "echo more >>/bench-dir/changed"
)
_STEPS = f"FROM {IMAGE}\nRUN mkdir /bench-dir && touch /bench-dir/gone /bench-dir/changed\n"
_STEPS += "".join(f"RUN echo {n} >/bench-dir/{n} && rm -f /bench-dir/{n - 1}\n" for n in range(9))


class Contestant(NamedTuple):
    """A storage driver for the daemon."""

    name: str
    driver: str
    """Docker's own; empty for the plugin."""
    options: List[str]
    """Of the plugin."""

    @contextlib.contextmanager
    def daemon(self, disk: Path, work: Path) -> Iterator[Daemon]:
        """A daemon that uses it."""
        if self.driver:
            with Daemon(disk / "docker", self.driver, work / "d") as daemon:
                yield daemon
        else:
            with plugged(disk / "docker", work / "d", *self.options) as both:
                yield both.daemon


CONTESTANTS = (
    Contestant("overlay", OVERLAY, []),
    Contestant("overlay2", OVERLAY2, []),
    Contestant("ovl1, overlay1", "", ["--layout", "overlay1"]),
    Contestant("ovl1, overlay2", "", ["--layout", "overlay2"]),
)
TOTAL = "all"


def plugin(options: Namespace) -> Dict[str, Table]:
    """Seconds by contestant and command, and what that is of Docker's own overlay."""
    base = base_layer(options.directory, usr=options.usr, entries=options.files)
    samples = Samples()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="b-") as name:
        work = Path(name)
        # Its programs are replaced by those that need no libraries, so that it runs.
        (work / "image.tar").write_bytes(layers_archive([base, nasty.base()], [IMAGE]))
        chosen = [
            contestant
            for contestant in CONTESTANTS
            if not options.only or contestant.name in ("overlay", *options.only)
        ]
        for number in range(options.runs):
            first = number % len(chosen)
            for contestant in chosen[first:] + chosen[:first]:
                with loop_file_system("ext4", work, 16 * GIB) as disk:
                    samples.add(contestant.name, _workload(contestant, disk, work, options))
    seconds = samples.table()
    reference = seconds["overlay"]
    ratios = {
        name: {column: value / reference[column] for column, value in figures.items()}
        for name, figures in seconds.items()
    }
    about = {"entries": number_of_entries(base), "MiB": len(base) / (1 << 20)}
    return {"seconds": seconds, "of overlay": ratios, "the image": {"base": about}}


def _workload(contestant: Contestant, disk: Path, work: Path, options: Namespace) -> Figures:
    figures: Figures = {}
    with contestant.daemon(disk, work) as daemon:
        for name, command in _commands(daemon, work, options).items():
            settle()
            with timed() as seconds:
                command()
                sync_file_system(disk)
            figures[name] = seconds[0]
    return {**figures, TOTAL: sum(figures.values())}


def _commands(daemon: Daemon, work: Path, options: Namespace) -> Dict[str, Callable[[], object]]:
    docker = daemon.docker
    network = "--network=none"

    def load() -> None:
        with (work / "image.tar").open("rb") as archive:
            docker("load", source=archive)

    def run_all() -> None:
        for _ in range(options.containers):
            docker("run", "--rm", network, "built:1", "sh", "-c", ":")

    def edit() -> None:
        docker("run", network, "--name", "edited", "built:1", "sh", "-c", _EDIT)

    return {
        "load": load,
        "build": lambda: daemon.build("built:1", _STEPS),
        f"{options.containers} x run --rm": run_all,
        "run": edit,
        "diff": lambda: docker("diff", "edited"),
        "commit": lambda: docker("commit", "edited", "committed:1"),
        "rm, rmi": lambda: (docker("rm", "edited"), docker("rmi", "committed:1", "built:1", IMAGE)),
    }
