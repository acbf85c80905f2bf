"""``ovl1 layer``."""

from __future__ import annotations

from ovl1.cli.layer.command import command

__all__ = ["command"]
