"""``ovl1 inodes report``: the command; its tables and its JSON are made beside it."""

from __future__ import annotations

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.inodes.outputs import TOP_DEFAULT, Files, compared, files_option, write
from ovl1.cli.inodes.tables import legend, show
from ovl1.cli.inodes.values import values
from ovl1.inodes.attribute import report as make_report

_EPILOG = examples(
    "ovl1 inodes report",
    "ovl1 inodes report --top 20 --depth 4 --bytes",
    "ovl1 inodes report --overlay2 --html inodes.html",
    "ovl1 -q inodes report --prometheus /var/lib/prometheus/node-exporter/ovl1.prom",
    "ovl1 --data-root /mnt/old/var/lib/docker inodes report --json",
)

_HELP = (
    "Count every inode of the data-root: by layer, image, container, path, and beside them.\n\n"
    "No daemon is needed, nothing is written to the store, and the data-root may be another "
    "machine's. What this user may not read is said, not counted.\n\n"
    + "\n\n".join("\b\n" + text for text in legend())
)


@click.command(help=_HELP, epilog=_EPILOG, short_help="Count every inode of the data-root.")
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=0),
    help=f"Show the N heaviest directory trees.  {TOP_DEFAULT}",
)
@click.option(
    "--depth",
    default=3,
    show_default=True,
    metavar="D",
    type=click.IntRange(min=1),
    help="Their paths have at most D parts.",
)
@click.option(
    "--bytes",
    "with_bytes",
    is_flag=True,
    help="Measure the size on the disk, too: every inode is looked at, not only the "
    "directories, which takes longer.",
)
@click.option(
    "--overlay2",
    is_flag=True,
    help="Find out what the same store takes as overlay2, too: every layer is compared "
    "with its parent, which takes longer.",
)
@json_option
@click.pass_obj
@files_option
def report(
    context: Context, *, top: int, depth: int, with_bytes: bool, overlay2: bool, files: Files
) -> None:
    """Count every inode of the data-root."""
    store = context.store()
    with phases(context) as progress:
        made = make_report(
            store,
            top=top,
            depth=depth,
            with_bytes=with_bytes,
            overlay2=overlay2,
            progress=progress,
        )
    write(made, files, quiet=context.quiet)
    if context.as_json:
        output.print_json({**values(made), **compared(made)})
    if files or context.as_json:
        return
    show(made)
    if not context.quiet:
        click.echo("\nWhat the figures mean:")
        for text in legend():
            click.echo(text)
