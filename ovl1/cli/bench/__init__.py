"""``ovl1 bench``."""

from __future__ import annotations

from ovl1.cli.bench.command import command

__all__ = ["command"]
