"""A bounded run of the fuzzer over one target, and what came of it.

Needs the package ``atheris``, which brings libFuzzer. What raises, hangs or eats memory is written
to a file: kept in `REGRESSIONS`, it is tried again by every test run, without the fuzzer.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional

from tests.fuzz import mutate
from tests.support.sources import ROOT

REGRESSIONS = ROOT / "tests" / "fuzz" / "regressions"
"""A directory for each target."""

_HANG = 20
"""Seconds that one input may take."""
_MEMORY = 1024
"""MiB that the process may have; Python and the coverage maps take 100 of them."""
_GRACE = 120
"""Seconds beyond those asked for until the fuzzer itself is taken to hang."""
_STATISTICS = {
    "executions": re.compile(r"stat::number_of_executed_units:\s*(\d+)"),
    "per_second": re.compile(r"stat::average_exec_per_sec:\s*(\d+)"),
    "coverage": re.compile(r"\bcov: (\d+)"),
    "features": re.compile(r"\bft: (\d+)"),
}


class Report(NamedTuple):
    """What a run came to."""

    executions: int
    per_second: int
    coverage: int
    """Places in the code that were reached, as libFuzzer counts them."""
    features: int
    """Those, told apart by how often."""
    crash: Optional[Path]
    """An input that shows a mistake; None if none was found."""
    log: str


def silently(line: str) -> None:
    """Tells nobody."""


def run(
    target: str,
    seconds: int,
    crashes: Path,
    *,
    corpus: Optional[Path] = None,
    seed: int = 0,
    tell: Callable[[str], None] = silently,
) -> Report:
    """Fuzz until the first mistake, or for so many seconds.

    Args:
        target: a name of `tests.fuzz.targets`.
        crashes: directory for the input that shows a mistake; made if it is not there.
        corpus: directory of inputs to begin with, and for those that reach something new.
        seed: the same gives the same inputs, as long as the code is the same; 0: others each time.
        tell: is given the fuzzer's output, line by line.

    Raises:
        RuntimeError: the fuzzer itself fails, or does not end.
    """
    crashes.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        mounted, found = Path(scratch) / "mnt", corpus or Path(scratch) / "found"
        mounted.mkdir()
        found.mkdir(parents=True, exist_ok=True)
        options = [
            f"-artifact_prefix={crashes}/", f"-max_total_time={seconds}", f"-timeout={_HANG}",
            f"-rss_limit_mb={_MEMORY}", f"-max_len={mutate.LARGEST}", f"-seed={seed}",
            f"-report_slow_units={_HANG}", "-print_final_stats=1", str(found),
        ]  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz.harness", target, str(mounted), *options]
        lines = []
        with _child(command, seconds + _GRACE) as child:
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line)
                tell(line.rstrip("\n"))
            code = child.wait()
    log = "".join(lines)
    new = sorted(set(crashes.iterdir()) - before)
    if code and not new:
        raise RuntimeError(f"the fuzzer ended with {code}:\n{log[-4000:]}")
    numbers = {name: _last(pattern, log) for name, pattern in _STATISTICS.items()}
    return Report(crash=new[0] if new else None, log=log, **numbers)


@contextlib.contextmanager
def _child(command: List[str], seconds: int) -> Iterator[subprocess.Popen[str]]:
    """A process whose output can be read; killed at the end if it still runs."""
    command = ["timeout", "--kill-after=5", str(seconds), *command]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _last(pattern: re.Pattern[str], log: str) -> int:
    found = pattern.findall(log)
    return int(found[-1]) if found else 0
