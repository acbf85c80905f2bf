"""Counting the inodes of a store: ovl1 against the programs that people use for it.

Every round runs each program once, one after the other, and a ratio is taken within a round.
Memory is that of all processes together, pages that they share being counted once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

from tools.bench.measure import ONE, ROOT, Table, run

DU, FIND, SORTED, NCDU = "du --inodes -s", "find", "find | sort -u | wc -l", "ncdu"
OVL1, OVL1_ALONE = "ovl1", "ovl1, one core"
PROGRAMS = DU, FIND, SORTED, NCDU, OVL1, OVL1_ALONE
WARM, COLD = "warm", "cold"

_MIB = 1 << 20
_KIB = 1 << 10
_SAMPLED_EVERY = 0.02
_GROWING = "seconds", "cpu", "MiB"
_COUNT_NAMES = "find \"$0\" -printf '%i\\n' | sort -u | wc -l"


def commands(data_root: Path) -> Dict[str, List[str]]:
    """Each program that there is on this machine, with its arguments."""
    path = os.fspath(data_root)
    ovl1 = [sys.executable, "-m", "ovl1", "--data-root", path, "--json", "inodes", "report"]
    found = {
        DU: ["du", "--inodes", "-s", path],
        FIND: ["find", path, "-printf", ""],
        SORTED: ["sh", "-c", _COUNT_NAMES, path],
        NCDU: ["ncdu", "-0", "-x", "-o", "/dev/null", path],
        OVL1: ovl1,
        OVL1_ALONE: ovl1,
    }
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def compare(data_root: Path, caches: str, programs: Sequence[str], runs: int) -> Table:
    """Seconds and CPU of each program, and the ratio to `du`; medians.

    Args:
        caches: `WARM`: each program has run once before; or `COLD`: dropped before each of them.
    """
    chosen = {name: command for name, command in commands(data_root).items() if name in programs}
    seconds: Dict[str, List[float]] = {name: [] for name in chosen}
    cpu: Dict[str, List[float]] = {name: [] for name in chosen}
    if caches == WARM:
        for command in chosen.values():
            run(command)
    os.sync()
    for _ in range(runs):
        for name, command in chosen.items():
            if caches == COLD:
                drop_caches()
            outcome = run(command, cores=ONE if name == OVL1_ALONE else 0)
            seconds[name].append(outcome.seconds)
            cpu[name].append(outcome.cpu)
    table = {
        name: {"seconds": statistics.median(seconds[name]), "cpu": statistics.median(cpu[name])}
        for name in chosen
    }
    if DU in chosen:
        for name, figures in table.items():
            pairs = zip(seconds[DU], seconds[name])
            figures["times as fast as du"] = statistics.median(du / own for du, own in pairs)
    return table


def memory(data_root: Path, programs: Sequence[str]) -> Table:
    """The most memory that each program had, all its processes together."""
    chosen = {name: command for name, command in commands(data_root).items() if name in programs}
    chosen.pop(OVL1_ALONE, None)
    return {name: {"MiB": peak_of_all(command) / _MIB} for name, command in chosen.items()}


def peak_of_all(command: Sequence[str]) -> int:
    """Bytes that the processes of a command had together at any time; looked at now and then.

    0 for a command that is over before the first look.
    """
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_proportional, _family(process.pid))))
            time.sleep(_SAMPLED_EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def drop_caches() -> None:
    """Forget all names and directories; what has yet to be written stays."""
    Path("/proc/sys/vm/drop_caches").write_text("3")


def growth(small: Table, large: Table) -> Table:
    """How many times as much the larger store took."""
    return {
        row: {name: large[row][name] / figures[name] for name in _GROWING if figures.get(name)}
        for row, figures in small.items()
    }


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _proportional(pid: int) -> int:
    """Its PSS: a page that several have counts for each as a part."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KIB
    return 0
