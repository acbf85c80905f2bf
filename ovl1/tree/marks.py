"""What overlayfs leaves in upper layers to be told by itself: marks on entries, and whiteouts."""

from __future__ import annotations

import os
import stat

OPAQUE = "trusted.overlay.opaque"
REDIRECT = "trusted.overlay.redirect"
METACOPY = "trusted.overlay.metacopy"
PRIVATE_PREFIX = "trusted.overlay."


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is the character device 0:0 with which overlayfs hides a name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
