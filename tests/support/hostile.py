"""The catalogue of odd and hostile layers, whole."""

from __future__ import annotations

from typing import Dict

from tests.support import (
    hostile_entries,
    hostile_headers,
    hostile_links,
    hostile_names,
    hostile_whiteouts,
)
from tests.support.hostile_case import Case

CASES: Dict[str, Case] = {
    case.name: case
    for module in (
        hostile_names,
        hostile_links,
        hostile_whiteouts,
        hostile_entries,
        hostile_headers,
    )
    for case in module.CASES
}
"""By name."""
