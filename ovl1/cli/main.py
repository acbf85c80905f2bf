"""The ``ovl1`` command: global options, one lazily imported file for each command, exit codes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import resource
import sys
from pathlib import Path
from typing import Any, List, NoReturn, Optional

import click

from ovl1 import __version__
from ovl1.cli import output
from ovl1.cli.context import Context
from ovl1.errors import NotPossibleHere, OvlError
from ovl1.store.layout import OVERLAY, OVERLAY2

INTERRUPTED = 130
"""As the shell counts a command that SIGINT ended."""

COMMANDS = {
    "info": "What the data-root holds, and what each Docker engine would do with it.",
    "image": "List, verify, load, save and remove images.",
    "container": "List, export and commit containers.",
    "layer": "List, make, look into and remove layers.",
    "inodes": "Where the inodes went, and what overlay2 would take.",
    "migrate": "Convert an overlay store to overlay2.",
    "serve": "Be Docker's storage driver (graphdriver plugin).",
    "bench": "Inodes of each layout, measured on file systems made for it.",
    "adopt": "Hand an existing store to the plugin, and back.",
    "demo": "The whole story, on a small store made on the spot.",
}


class _Commands(click.Group):
    """Commands by name; each is imported when it is used."""

    def list_commands(self, _context: click.Context) -> List[str]:
        return [name for name in COMMANDS if importlib.util.find_spec(f"ovl1.cli.{name}")]

    def get_command(self, context: click.Context, name: str) -> Optional[click.Command]:
        if name not in self.list_commands(context):
            return None
        command = importlib.import_module(f"ovl1.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(context)])


_EPILOG = """\b
Examples:
  ovl1 info
  ovl1 --data-root /mnt/old/var/lib/docker image ls
  ovl1 image verify --all

\b
Exit codes: 0 done, 1 findings or a failed check, 2 wrong usage, 3 refused for
safety (nothing changed), 4 failed half-way (what to run next is printed),
5 not possible on this host.

\b
Completion in the shell (bash; zsh and fish likewise), in ~/.bashrc:
  eval "$(_OVL1_COMPLETE=bash_source ovl1)"
"""


@click.group(
    cls=_Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--data-root",
    metavar="DIR",
    default="/var/lib/docker",
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="Docker's data directory.",
)
@click.option(
    "--driver",
    type=click.Choice([OVERLAY, OVERLAY2]),
    help="The store to look at, if there are both.  [default: overlay, else overlay2]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("-v", "--verbose", count=True, help="Say more.")
@click.option("-q", "--quiet", is_flag=True, help="Print results only.")
@click.version_option(__version__, prog_name="ovl1")
@click.pass_context
def cli(
    context: click.Context,
    *,
    data_root: Path,
    driver: Optional[str],
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> None:
    """Docker's legacy overlay storage: look into a store, account for its inodes, leave it."""
    context.obj = Context(data_root, driver, as_json, -1 if quiet else verbose)


def main() -> NoReturn:
    """Run the command line of this process, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: List[str]) -> int:
    """Run one command line.

    Returns:
        the exit code.
    """
    _raise_open_files()
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    # An error may come before any option was parsed.
    as_json = "--json" in arguments
    try:
        result = cli.main(arguments, prog_name="ovl1", standalone_mode=False)
        sys.stdout.flush()
    except (OvlError, click.ClickException, OSError) as error:
        return _failed(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        output.remark("ovl1: interrupted")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _failed(error: Exception, *, as_json: bool) -> int:
    if isinstance(error, BrokenPipeError):
        # The reader has gone; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, click.ClickException):
        if not as_json:
            error.show()
            return error.exit_code
        brief = error.format_message()
        explained = OvlError(brief)
        explained.exit_code = error.exit_code
    elif isinstance(error, OvlError):
        explained = error
    else:
        explained = _explained(error)
    output.print_error(explained, as_json=as_json)
    return explained.exit_code


def _explained(error: Exception) -> OvlError:
    if isinstance(error, PermissionError):
        return NotPossibleHere(
            f"not permitted: {error}", resolution="Run the command again as root."
        )
    return OvlError(
        f"a system call failed: {error}",
        details="ovl1 does not know what this means here.",
        resolution="If the disk is well, please report it together with the command.",
    )


def _never_fail_to_encode(stream: Any) -> None:
    """A terminal that knows only ASCII gets escapes instead of an exception."""
    with contextlib.suppress(AttributeError, ValueError):
        stream.reconfigure(errors="backslashreplace")


def _raise_open_files() -> None:
    """A stack of many layers needs many directories open at a time."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
