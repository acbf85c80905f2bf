"""``ovl1 inodes``: where the inodes went."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Dict, List, Sequence, Union

import click

from ovl1.cli import output
from ovl1.cli.context import Context, json_option, phases
from ovl1.inodes.attribute import report as make_report
from ovl1.inodes.report import LayerUse, Report, Share

_COLUMNS = (">DIRS", ">SYMLINKS", ">SPECIAL", ">FILES", ">SHARED NAMES", ">DRIVER")

_EPILOG = """\b
Examples:
  ovl1 inodes report
  ovl1 --data-root /mnt/old/var/lib/docker inodes report --json
"""


@click.group(epilog=_EPILOG, short_help="Where the inodes went.")
def command() -> None:
    """Where the inodes went, and what the same store would take as overlay2."""


@command.command(epilog=_EPILOG)
@json_option
@click.pass_obj
def report(context: Context) -> None:
    """Count every inode of the data-root: by layer, image, container, and what is beside them.

    FILES are regular inodes seen first in that layer, parents before children; SHARED NAMES are
    further names of inodes that were seen before, and cost nothing. DRIVER is what the storage
    driver has around the layers. An image's figures are those of all its layers; OWN are the
    inodes that nothing else uses, which removing the image or the container gives back.
    """
    store = context.store()
    with phases(context) as progress:
        made = make_report(store, progress=progress)
    if context.as_json:
        output.print_json(values(made))
    else:
        show(made)


def values(made: Report) -> Dict[str, Any]:
    """The report for programs."""
    return {
        "data_root": str(made.data_root),
        "driver": made.driver,
        "total": made.total,
        "in_layers": made.in_layers,
        "total_as_overlay2": made.total_as_overlay2,
        "no_overlay2": made.no_overlay2,
        "layers": [{**asdict(use), "inodes": use.inodes} for use in made.layers],
        "images": [{**asdict(share), "inodes": share.inodes} for share in made.images],
        "containers": [{**asdict(share), "inodes": share.inodes} for share in made.containers],
        "others": {name: counts.inodes for name, counts in made.others},
        "file_system": {**asdict(made.file_system), "elsewhere": made.elsewhere},
    }


def show(made: Report) -> None:
    """The report for people."""
    click.echo("Layers, parents first:")
    output.print_table(
        ["LAYER", "KIND", *_COLUMNS, ">INODES"],
        [[use.name[:12], use.kind, *_figures(use), str(use.inodes)] for use in made.layers],
    )
    for title, shares in (("Images", made.images), ("Containers", made.containers)):
        if shares:
            click.echo(f"\n{title}:")
            output.print_table(
                [title[:-1].upper(), "NAMES", ">LAYERS", *_COLUMNS, ">INODES", ">OWN"],
                _shares(shares),
            )
    click.echo()
    output.print_fields(_totals(made))


def _figures(use: Union[LayerUse, Share]) -> List[str]:
    tree = use.tree
    figures = (tree.directories, tree.symlinks, tree.specials, tree.files, tree.shared)
    return [*map(str, figures), str(use.overhead)]


def _shares(shares: Sequence[Share]) -> List[List[str]]:
    return [
        [
            share.id.replace("sha256:", "")[:12],
            " ".join(share.names) or "-",
            str(share.layers),
            *_figures(share),
            str(share.inodes),
            str(share.own),
        ]
        for share in sorted(shares, key=lambda share: -share.inodes)
    ]


def _totals(made: Report) -> List[List[str]]:
    system = made.file_system
    rows = [[f"{made.driver}/", str(made.in_layers)]]
    rows += [
        [f"{name}/" if name != "." else "the data-root itself", str(counts.inodes)]
        for name, counts in made.others
    ]
    rows.append(["total of the data-root", str(made.total)])
    if made.total_as_overlay2 is not None:
        saved = made.total - made.total_as_overlay2
        share = f", {100 * saved / made.total:.0f} % fewer" if made.total else ""
        rows.append(["the same as overlay2", f"{made.total_as_overlay2}{share}"])
    elif made.no_overlay2:
        rows.append(["the same as overlay2", f"cannot be told: {made.no_overlay2}"])
    if system.files:
        rows += [
            [f"the {system.kind} file system's own", str(system.own)],
            ["elsewhere on it", str(made.elsewhere)],
            ["used on the file system", f"{system.used} of {system.files}"],
        ]
    else:
        rows.append(["used on the file system", f"{system.kind} does not count inodes"])
    return rows
