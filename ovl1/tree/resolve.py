"""Symbolic links inside a tree, followed without leaving it.

For names that an image wrote: Docker unpacks a layer chrooted into its tree, so a name whose parent
is a symbolic link lands where that link leads within the tree. The result has no link left in it
and can be descended component by component with ``O_NOFOLLOW``.
"""

from __future__ import annotations

import errno
import os
from typing import Callable, List, Optional, Sequence, Tuple

_MOST_LINKS = 40  # include/linux/namei.h MAXSYMLINKS

Parts = Tuple[bytes, ...]


def resolve(parts: Sequence[bytes], link_at: Callable[[Parts], Optional[bytes]]) -> Parts:
    """The place that `parts` leads to in a tree, as a process chrooted into it would see it.

    Args:
        parts: path from the root of the tree.
        link_at: the target of the symbolic link at a path, None for anything else. It is asked
            for paths only that have no link before the last component.

    Raises:
        OSError: ``ELOOP``, too many links; and what `link_at` raises.
    """
    resolved: List[bytes] = []
    pending = list(reversed(parts))
    links = 0
    while pending:
        part = pending.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            del resolved[-1:]
            continue
        target = link_at((*resolved, part))
        if target is None:
            resolved.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(b"/".join(parts)))
        if target.startswith(b"/"):
            resolved.clear()
        pending.extend(reversed(target.split(b"/")))
    return tuple(resolved)
