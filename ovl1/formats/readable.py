"""Names and sizes as people read them: in one line, and harmless wherever they are shown.

Nothing that an image chose may act on what shows it: control characters, bidirectional overrides
and bytes that are no UTF-8 become escapes. What markup needs beyond that is its writer's business.
"""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def escaped(text: str) -> str:
    """`text` as it may be shown in one line: what acts instead of being seen is escaped."""
    return "".join(
        _escape(char) if unicodedata.category(char) in _UNSAFE else char for char in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # A byte that was no UTF-8 (PEP 383).
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def human_size(size: int) -> str:
    """Bytes as Docker prints them: three digits, powers of 1000."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.3g}{_UNITS[unit]}" if value < 999.5 else f"{value:.0f}{_UNITS[unit]}"
