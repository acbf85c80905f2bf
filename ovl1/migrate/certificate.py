"""The certificate of a migration: what was proved of the new store, when, by which version.

Whoever deletes the old store demands it, whole and unchanged. JSON, schema 1: keys are only ever
added.
"""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from ovl1 import __version__
from ovl1.driver.convert import ORPHAN, Conversion
from ovl1.linux import durable
from ovl1.migrate.verify import Verification

SCHEMA = 1


def write(
    path: Path,
    data_root: Path,
    layers: Sequence[Conversion],
    found: Verification,
    squashed: Optional[Mapping[str, Any]] = None,
) -> Dict[str, Any]:
    """Write the certificate; durable, replaces an older one.

    Args:
        squashed: see `ovl1.migrate.squash.renewed.Renewed.told`. The view of a layer that was made
            of several has been compared with the old view of the uppermost of them; its DiffID is
            new.

    Returns:
        What the journal keeps of it.
    """
    values = {
        "schema": SCHEMA,
        "ovl1": __version__,
        "kernel": platform.release(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data_root": str(data_root),
        "passed": found.passed,
        "quick": found.quick,
        "views": found.views,
        "layers": [{"id": c.layer_id, "kind": c.kind, "of": c.of} for c in layers],
        "orphans": [{"id": c.layer_id, "parent": c.parent} for c in layers if c.kind == ORPHAN],
        "diff_ids": found.proved,
        "squashed": squashed or {"layers": [], "images": {}},
        "notes": found.notes,
        "differences": found.differences,
    }
    data = json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"
    durable.write_file(path, data, mode=0o644)
    return {
        "certificate": hashlib.sha256(data).hexdigest(),
        "views": found.views,
        "diff_ids": found.diff_ids,
        "notes": found.notes,
        "quick": found.quick,
    }


def copy(path: Path, target: Path) -> None:
    """Keep a certificate where a purge does not delete it; durable, replaces an older one."""
    durable.write_file(target, path.read_bytes(), mode=0o644)


def holds(path: Path, digest: str) -> bool:
    """Whether the file at `path` is the certificate of which the journal keeps `digest`."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except FileNotFoundError:
        return False
