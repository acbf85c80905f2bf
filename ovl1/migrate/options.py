"""What can be chosen about a migration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional


@dataclass(frozen=True)
class Options:
    """What is wanted; where it cannot be had, a migration is refused."""

    to: Optional[Path] = None
    """The data-root to make, which must be empty, or missing; None to stay in the old one."""
    in_place: bool = False
    """Convert the layers themselves, which takes next to no inodes; not together with `to`."""
    keep_directory_times: bool = True
    """Keep times that only the old store shows; see `ovl1.driver.convert.content`."""
    verify: bool = True
    """Prove the new store before it is used."""
    quick: bool = False
    """Prove structure and metadata only; see `ovl1.migrate.verify`."""
    strict: bool = False
    """Refuse a store that has broken parts, instead of leaving them out."""
    include_orphans: bool = False
    """Take along layers that nothing refers to; see `ovl1.migrate.orphans`."""
    squash: bool = False
    """Merge the bottom layers of images that are too deep; not together with `in_place`."""
    daemon_json: Optional[Path] = None
    """Docker's configuration, to be changed so that it names the new store."""


DEFAULTS = Options()
