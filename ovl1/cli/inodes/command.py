"""``ovl1 inodes``: where the inodes went; each command is imported when it is used."""

from __future__ import annotations

import importlib
from typing import List, Optional

import click

from ovl1.cli.context import examples
from ovl1.cli.inodes.tables import show

__all__ = ["command", "show"]

_WHERE = {
    "report": "report",
    "free": "what_if",
    "predict": "what_if",
    "forecast": "what_if",
    "watch": "watch",
}


class _Commands(click.Group):
    def list_commands(self, _context: click.Context) -> List[str]:
        return list(_WHERE)

    def get_command(self, _context: click.Context, name: str) -> Optional[click.Command]:
        if name not in _WHERE:
            return None
        found = getattr(importlib.import_module(f"ovl1.cli.inodes.{_WHERE[name]}"), name)
        assert isinstance(found, click.Command)
        return found


_EPILOG = examples(
    "ovl1 inodes report",
    "ovl1 inodes free app:1 old-container",
    "ovl1 inodes forecast new.tar",
    "ovl1 inodes watch -- docker load -i new.tar",
)


@click.group(cls=_Commands, epilog=_EPILOG, short_help="Where the inodes went.")
def command() -> None:
    """Where the inodes went, and what the same store would take as overlay2."""
