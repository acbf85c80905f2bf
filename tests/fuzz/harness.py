"""The process that is fuzzed: ``python -m tests.fuzz.harness TARGET SCRATCH OPTION...``

`tests.fuzz.session` starts it, because libFuzzer ends the process. The options, and the directory
of inputs among them, are libFuzzer's. With root's rights the directory `SCRATCH` becomes a file
system in memory that nobody else sees, and that ends with the process.
"""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from pathlib import Path
from typing import List

from tests.support.leftovers import enter_own_mount_namespace
from tests.support.sealed import seal
from tests.support.sources import ROOT


def fuzz(name: str, scratch: Path, options: List[str]) -> None:
    """Does not return."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["ovl1"], enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    target = {**targets.TARGETS, **targets.PLANTED}[name]
    if enter_own_mount_namespace():
        seal([ROOT, scratch.parent, *map(Path, crashes(options))])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "ovl1", scratch], check=True)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        made: bytes = target.mutate(data, most, random.Random(seed), atheris.Mutate)
        return made

    seeds, work = scratch / "seeds", scratch / "work"
    for place in (seeds, work):
        place.mkdir()
    for number, data in enumerate(target.seeds().values()):
        (seeds / f"{number}").write_bytes(data)
    with target.opened(work) as run:
        arguments = [sys.argv[0], *options, str(seeds)]
        if target.mutate is None:
            atheris.Setup(arguments, run)
        else:
            atheris.Setup(arguments, run, custom_mutator=mutated)
        atheris.Fuzz()


def crashes(options: List[str]) -> List[str]:
    """The directories that libFuzzer writes to."""
    prefix = "-artifact_prefix="
    return [
        *(option[len(prefix) :] for option in options if option.startswith(prefix)),
        *(option for option in options if not option.startswith("-")),
    ]


if __name__ == "__main__":
    fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
