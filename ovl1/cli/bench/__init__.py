"""``ovl1 bench``: inodes of each layout, measured on file systems made for it."""

from __future__ import annotations

from ovl1.cli.bench.command import command

__all__ = ["command"]
