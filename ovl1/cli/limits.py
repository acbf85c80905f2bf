"""The options that limit what a tar may unpack to, for the commands that unpack one.

Apart from `ovl1.cli.files`, which commands need that unpack nothing.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar, cast

import click

from ovl1.layer.policy import Policy

F = TypeVar("F", bound=Callable[..., Any])


def limits(function: F) -> F:
    """The options ``--max-bytes`` and ``--max-entries``, given to a command as a `Policy`."""
    default = Policy()

    @click.option(
        "--max-bytes",
        type=click.IntRange(min=1),
        default=default.max_bytes,
        show_default=True,
        help="Refuse a tar of more bytes, uncompressed.",
    )
    @click.option(
        "--max-entries",
        type=click.IntRange(min=1),
        default=default.max_entries,
        show_default=True,
        help="Refuse a tar of more entries.",
    )
    @functools.wraps(function)
    def limited(*args: Any, max_bytes: int, max_entries: int, **kwargs: Any) -> Any:
        policy = Policy(max_bytes=max_bytes, max_entries=max_entries)
        return function(*args, policy=policy, **kwargs)

    return cast(F, limited)
