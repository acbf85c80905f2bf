"""``ovl1 inodes``."""

from __future__ import annotations

from ovl1.cli.inodes.command import command

__all__ = ["command"]
