"""File systems and drivers: all pairs in the full form, in the short one each of them once."""

from __future__ import annotations

import pytest

from ovl1.store.layout import OVERLAY, OVERLAY2

PAIRS = (("ext4", OVERLAY), ("xfs", OVERLAY2), ("ext4", OVERLAY2), ("xfs", OVERLAY))
_IN_SHORT = PAIRS[:2]


def need(kind: str, driver: str, *, full: bool) -> None:
    """Skip the test if it is not the time for this pair."""
    if not full and (kind, driver) not in _IN_SHORT:
        pytest.skip("a pair for --full")
