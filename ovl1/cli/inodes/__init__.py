"""``ovl1 inodes``: where the inodes went, and what overlay2 would take."""

from __future__ import annotations

from ovl1.cli.inodes.command import command

__all__ = ["command"]
