"""``ovl1 inodes report --html`` and ``--prometheus``: the report as files for others to read."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, TypeVar, cast

import click

from ovl1.cli import output
from ovl1.cli.context import Context
from ovl1.cli.files import STDOUT
from ovl1.errors import WrongUsage
from ovl1.inodes.comparison import comparison, fewer_as_overlay2, together
from ovl1.inodes.report import Report
from ovl1.inodes.tally import Counts
from ovl1.linux import durable

F = TypeVar("F", bound=Callable[..., Any])

Files = Mapping[str, str]
"""Where each form of the report goes."""

_TOP, _TOP_OF_PAGE = 10, 40
TOP_DEFAULT = f"[default: {_TOP}; {_TOP_OF_PAGE} with --html]"


# What makes the forms is imported for those who ask: most ask for tables only.
def _exposition(made: Report) -> str:
    from ovl1.inodes.prometheus import exposition

    return exposition(made)


def _page(made: Report) -> str:
    from ovl1.inodes.page.document import page

    return page(made, datetime.now(timezone.utc))


_FORMS: Dict[str, Callable[[Report], str]] = {"prometheus": _exposition, "html": _page}


def files_option(function: F) -> F:
    """Let a command take ``--prometheus`` and ``--html``, as `files`; a page wants a higher `top`.

    It goes below `click.pass_obj`.
    """

    @click.option(
        "--prometheus",
        metavar="FILE",
        help="Write gauges for node_exporter's textfile collector there instead of tables here; "
        "- is standard output.",
    )
    @click.option(
        "--html",
        metavar="FILE",
        help="Write a page with charts there instead of tables here: one file, which needs no "
        "network; - is standard output.",
    )
    @functools.wraps(function)
    def with_files(
        context: Context,
        *,
        top: Optional[int],
        prometheus: Optional[str],
        html: Optional[str],
        **others: Any,
    ) -> Any:
        chosen = (("prometheus", prometheus), ("html", html))
        files = {form: name for form, name in chosen if name is not None}
        _check(files, as_json=context.as_json)
        if top is None:
            top = _TOP_OF_PAGE if html is not None else _TOP
        return function(context, top=top, files=files, **others)

    return cast(F, with_files)


def write(made: Report, files: Files, *, quiet: bool) -> None:
    """Write each file as a whole: who reads it sees the old one or the new one.

    Raises:
        WrongUsage: it cannot be there.
    """
    for form, name in files.items():
        text = _FORMS[form](made)
        if name == STDOUT:
            click.echo(text, nl=False)
            continue
        with _explained(name):
            _write(Path(name), text.encode())
        if not quiet:
            output.remark(f"{name} is written.")


def compared(made: Report) -> Dict[str, Any]:
    """For programs: what a page shows beside the figures of the report itself."""
    tree = together(made)
    return {
        "together": {**_counted(tree), "names": tree.names, "inodes": tree.inodes},
        "comparison": {
            layout: {**dataclasses.asdict(parts), "total": parts.total}
            for layout, parts in comparison(made).items()
        },
        "fewer_as_overlay2": fewer_as_overlay2(made),
    }


def _counted(tree: Counts) -> Dict[str, int]:
    return {key: count for key, count in dataclasses.asdict(tree).items() if key != "bytes"}


def _write(path: Path, data: bytes) -> None:
    path = path.resolve()
    # What is no file, such as /dev/null, cannot be replaced by one.
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        durable.write_file(path, data, mode=0o644)


def _check(files: Files, *, as_json: bool) -> None:
    """Say now what would otherwise be said when all is counted."""
    if [*files.values(), *([STDOUT] if as_json else [])].count(STDOUT) > 1:
        raise WrongUsage("only one form of the report can go to standard output")
    for name in files.values():
        directory = Path(name).resolve().parent
        if name != STDOUT and (Path(name).is_dir() or not directory.is_dir()):
            raise WrongUsage(f"{name} cannot be written: it is, or lies in, no such directory")


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise WrongUsage(f"{name} cannot be written: {error.strerror}") from error
