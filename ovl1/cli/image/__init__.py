"""``ovl1 image``: list, verify, load, save and remove images."""

from __future__ import annotations

from ovl1.cli.image.command import command

__all__ = ["command"]
