"""``ovl1 demo``."""

from __future__ import annotations

from ovl1.cli.demo.command import command

__all__ = ["command"]
