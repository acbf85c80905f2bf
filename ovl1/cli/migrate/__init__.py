"""``ovl1 migrate``: convert an overlay store to overlay2."""

from __future__ import annotations

from ovl1.cli.migrate.command import command

__all__ = ["command"]
