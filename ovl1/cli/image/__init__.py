"""``ovl1 image``."""

from __future__ import annotations

from ovl1.cli.image.command import command

__all__ = ["command"]
