"""What errors of the disk mean for a migration, in words."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Iterator

from ovl1.errors import HalfDone, NotPossibleHere
from ovl1.migrate.area import Area

_WORDS = {
    errno.ENOSPC: "no space or no inodes are left",
    errno.EDQUOT: "the quota is used up",
    errno.EIO: "the disk reports an error",
    errno.EROFS: "the file system is read-only",
    errno.EMLINK: "an inode has all the names that the file system allows",
    errno.EXDEV: "the file system refuses links or renames between its parts",
}


@contextlib.contextmanager
def explained(data_root: Path) -> Iterator[None]:
    """Say of an error in the block what it means, and what can be done.

    Raises:
        HalfDone: a migration of `data_root` is still in progress.
        NotPossibleHere: none is.
        OSError: an error that nobody foresaw; nothing is in progress.
    """
    try:
        yield
    except OSError as err:
        words = _WORDS.get(err.errno or 0)
        if Area(data_root).home.is_dir():
            raise HalfDone(
                f"the migration stopped: {words or err.strerror or 'a system call failed'}",
                details=str(err),
                resolution="When that is mended: `ovl1 migrate status` tells how far it came, "
                "`ovl1 migrate rollback` takes it back.",
            ) from err
        if words is None:
            raise
        raise NotPossibleHere(
            f"the migration stopped: {words}",
            details=f"{err}\nNo migration is in progress.",
            resolution="Mend that, then run the command again.",
        ) from err
