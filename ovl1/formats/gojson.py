"""JSON as Go's ``encoding/json`` writes a map, which is how Docker's files look."""

from __future__ import annotations

import json
from typing import Any, Dict


def encoded(value: Dict[str, Any]) -> bytes:
    """Sorted, without white space; names that are not UTF-8 stay the bytes that they were.

    Go also escapes ``<``, ``>`` and ``&``, which means the same.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogateescape")
