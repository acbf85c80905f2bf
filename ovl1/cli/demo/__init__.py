"""``ovl1 demo``: the whole story, on a small store made on the spot."""

from __future__ import annotations

from ovl1.cli.demo.command import command

__all__ = ["command"]
