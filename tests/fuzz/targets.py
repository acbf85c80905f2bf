"""What can be fuzzed, by name."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Callable, ContextManager, Dict, NamedTuple, Optional

from tests.fuzz import apply_target, mutate, parsers, planted

Mutator = Callable[[bytes, int, random.Random, mutate.Havoc], bytes]


class Target(NamedTuple):
    """Code that takes bytes."""

    opened: Callable[[Path], ContextManager[Callable[[bytes], None]]]
    """Given an empty directory, a function that raises if something is wrong."""
    seeds: Callable[[], Dict[str, bytes]]
    """Bytes to begin with, by what they are called."""
    mutate: Optional[Mutator] = None
    """Instead of changes to bytes that do not know what these mean."""
    needs_root: bool = False


TARGETS: Dict[str, Target] = {
    "apply": Target(apply_target.arena, apply_target.seeds, mutate.tar, needs_root=True),
    "tar": Target(parsers.tar, parsers.tar_seeds, mutate.tar),
    "tarsplit": Target(parsers.tarsplits, parsers.tarsplit_seeds, parsers.mutate_tarsplit),
    "compression": Target(parsers.compression, parsers.compression_seeds),
    "archive": Target(parsers.archive, parsers.archive_seeds, parsers.mutate_archive),
}

PLANTED: Dict[str, Target] = {
    "follows-links": Target(planted.careless, planted.careless_seeds, mutate.tar, needs_root=True),
    "behind-the-checksum": Target(planted.behind_the_checksum, planted.one_file, mutate.tar),
}
"""With a mistake in each, to see that it is found."""
