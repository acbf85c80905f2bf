"""What the kernel shows of every layer of a store, by mounts of our own making."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

from ovl1.model import LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from tests.support.newer_kernels import Shown, shown, shown_without


def shown_by_overlay(root: Path, at: Path) -> Dict[str, Shown]:
    """What each layer shows; what BuildKit made, and containers, over their image's tree."""
    layout = Layout(root, OVERLAY)
    found = {}
    for name in sorted(os.listdir(layout.home)):
        layer = LayerId(name)
        if layout.upper(layer).exists():
            below = LayerId(layout.lower_id(layer).read_text())
            found[name] = shown_without([layout.upper(layer), layout.root(below)], at)
        else:
            found[name] = shown(layout.root(layer))
    return found


def shown_by_overlay2(root: Path, at: Path) -> Dict[str, Shown]:
    layout = Layout(root, OVERLAY2)
    found = {}
    for name in sorted(set(os.listdir(layout.home)) - {layout.links.name}):
        layer = LayerId(name)
        lower = layout.lower(layer)
        shorts = lower.read_text().split(":") if lower.exists() else []
        lowers = [(layout.home / short).resolve() for short in shorts]
        diff = layout.diff(layer)
        found[name] = shown_without([diff, *lowers], at) if lowers else shown(diff)
    return found
