"""``ovl1 layer``: list, make, look into and remove layers."""

from __future__ import annotations

from ovl1.cli.layer.command import command

__all__ = ["command"]
