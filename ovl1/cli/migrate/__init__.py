"""``ovl1 migrate``."""

from __future__ import annotations

from ovl1.cli.migrate.command import command

__all__ = ["command"]
