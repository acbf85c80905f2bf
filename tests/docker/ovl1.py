"""The command line of this checkout, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.sources import ROOT

REFUSED = 3


def ovl1(data_root: Path, *args: str, expect: int = 0) -> str:
    """Run ``ovl1 --data-root DATA_ROOT ARGS`` and return what it prints; `expect` its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "ovl1", "--data-root", str(data_root), *args],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    said = f"ovl1 {' '.join(args)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.returncode == expect, said
    return done.stdout


def migrate(data_root: Path, *options: str) -> None:
    """Convert the store and prove it."""
    ovl1(data_root, "migrate", "run", *options)
    ovl1(data_root, "migrate", "verify")
