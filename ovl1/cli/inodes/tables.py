"""``ovl1 inodes report`` for people: its tables, and what each figure means."""

from __future__ import annotations

import re
from typing import List, Sequence, Union

import click

from ovl1.cli import output
from ovl1.inodes.links import Linked
from ovl1.inodes.report import FileSystem, LayerUse, Report, Share
from ovl1.inodes.tally import Counts

_COLUMNS = (">DIRS", ">SYMLINKS", ">SPECIAL", ">FILES", ">SHARED NAMES")

_MOST_UNREADABLE = 10

_LAYER_ID = re.compile(r"(?<=/)([0-9a-f]{12})[0-9a-f]{52}(?=/)")
"""In a path, which would be too wide for a terminal with all of it; JSON has all."""

LEGEND = (
    ("DIRS", "directories; they cannot be shared, so each layer has all of them once more."),
    ("SYMLINKS", "symbolic links seen first here; Docker makes them anew in every layer."),
    ("SPECIAL", "fifos, sockets and devices seen first here, whiteouts among them."),
    ("FILES", "regular files seen first here, parents being counted before children."),
    (
        "SHARED NAMES",
        "further names (hard links) of inodes that were counted above: they take no inode.",
    ),
    ("DRIVER", "what the storage driver keeps around a layer, or left there unfinished."),
    ("INODES", "the sum of all these but the shared names."),
    ("PER INODE", "names that each inode has on average, directories left out."),
    ("OWN", "inodes of layers that nothing else stands on: removing the image frees them."),
    ("SHARED", "inodes of layers that other images or containers stand on, too."),
    ("SIZE", "bytes that the inodes take on the disk (--bytes); OWN SIZE: those of OWN."),
    ("NAMES", "an image's tags; removing one frees nothing while there is another."),
    (
        "KIND",
        "whose layer it is: an image's, a container's, its init layer, BuildKit's (buildkit), "
        "nobody's (unused), or what an interrupted removal left (leftover).",
    ),
    ("PATH", "a directory tree in all layers that have it; none that one tree below explains."),
    ("LINKS", "hard links of a file, in all layers; the file system allows so many (LIMIT)."),
    ("MORE LAYERS", "how many layers can still be made on it before link() fails with EMLINK."),
    ("total", "all inodes of the data-root, each counted once."),
    ("file system's own", "what it takes when it is empty."),
    (
        "elsewhere",
        "inodes used on the file system by neither this data-root nor the file system itself.",
    ),
)


def legend() -> List[str]:
    """What each figure means, a sentence for each, wrapped."""
    return [click.wrap_text(f"{name}: {text}", 78, "", "    ") for name, text in LEGEND]


def show(made: Report) -> None:
    """The report for people."""
    _show_layers(made)
    shares = (("Images", made.images), ("Containers", made.containers))
    for title, which in shares:
        if which:
            click.echo(f"\n{title}:")
            _show_shares(made, title[:-1].upper(), which)
    if made.paths:
        click.echo("\nThe heaviest directory trees of all layers:")
        output.print_table(
            ["PATH", ">LAYERS", *_COLUMNS, ">INODES", *_size_column(made)],
            [
                [
                    use.path,
                    str(use.layers),
                    *_counted(use.tree),
                    str(use.inodes),
                    *_size(made, use.tree.bytes),
                ]
                for use in made.paths
            ],
        )
    if made.linked:
        click.echo("\nThe files with the most names:")
        output.print_table(
            ["FILE", ">NAMES IN ITS LAYER", ">LINKS", ">LIMIT", ">MORE LAYERS"],
            [_linked(each) for each in made.linked],
        )
    click.echo()
    output.print_fields(_totals(made))
    _show_remarks(made)


def _show_layers(made: Report) -> None:
    click.echo("Layers, parents first:")
    output.print_table(
        ["LAYER", "KIND", *_COLUMNS, ">DRIVER", ">INODES", *_size_column(made)],
        [
            [use.name[:12], use.kind, *_figures(use), str(use.inodes), *_size(made, use.bytes)]
            for use in made.layers
        ],
    )
    if len(made.kinds) > 1:
        click.echo("\nLayers by kind:")
        output.print_table(
            ["KIND", ">LAYERS", *_COLUMNS, ">DRIVER", ">INODES", *_size_column(made)],
            [
                [
                    share.id,
                    str(share.layers),
                    *_figures(share),
                    str(share.inodes),
                    *_size(made, share.bytes),
                ]
                for share in made.kinds
            ],
        )


def _show_shares(made: Report, title: str, shares: Sequence[Share]) -> None:
    sizes = [">SIZE", ">OWN SIZE"] if made.with_bytes else []
    output.print_table(
        [
            *(title, "NAMES", ">LAYERS", *_COLUMNS, ">PER INODE", ">DRIVER", ">INODES"),
            *(">SHARED", ">OWN", *sizes),
        ],
        [
            [
                share.id.replace("sha256:", "")[:12],
                " ".join(share.names) or "-",
                str(share.layers),
                *_counted(share.tree),
                _per_inode(share.tree),
                str(share.overhead),
                str(share.inodes),
                str(share.shared),
                str(share.own),
                *_size(made, share.bytes),
                *_size(made, share.own_bytes),
            ]
            for share in sorted(shares, key=lambda share: -share.inodes)
        ],
    )


def _counted(tree: Counts) -> List[str]:
    return [
        str(figure)
        for figure in (tree.directories, tree.symlinks, tree.specials, tree.files, tree.shared)
    ]


def _figures(use: Union[LayerUse, Share]) -> List[str]:
    return [*_counted(use.tree), str(use.overhead)]


def _per_inode(tree: Counts) -> str:
    rate = tree.names_per_inode
    return "-" if rate is None else f"{rate:.1f}"


def _size_column(made: Report) -> List[str]:
    return [">SIZE"] if made.with_bytes else []


def _size(made: Report, size: int) -> List[str]:
    return [output.human_size(size)] if made.with_bytes else []


def _linked(each: Linked) -> List[str]:
    limits = (each.limit, each.more_layers)
    path = _LAYER_ID.sub(r"\1", each.path)
    return [path, str(each.names), str(each.links)] + [
        "-" if limit is None else str(limit) for limit in limits
    ]


def _totals(made: Report) -> List[List[str]]:
    rows = [[f"{made.driver}/", str(made.in_layers)]]
    rows += [
        [f"{name}/" if name != "." else "the data-root itself", str(counts.inodes)]
        for name, counts in made.others
    ]
    rows.append(["total of the data-root", str(made.total)])
    if made.with_bytes:
        rows.append(["which take on the disk", output.human_size(made.bytes)])
    everything = sum((share.tree for share in made.kinds), Counts())
    rows.append(["names for each inode of a file", f"{_per_inode(everything)} in layers"])
    if made.more_layers is not None:
        rows.append(["layers that fit before EMLINK", str(made.more_layers)])
    if made.total_as_overlay2 is not None:
        saved = made.total - made.total_as_overlay2
        share = f", {100 * saved / made.total:.0f} % fewer" if made.total else ""
        rows.append(["the same as overlay2", f"{made.total_as_overlay2}{share}"])
    elif made.no_overlay2:
        rows.append(["the same as overlay2", f"cannot be told: {made.no_overlay2}"])
    for system in made.file_systems:
        rows += _system_rows(system, apart=len(made.file_systems) > 1)
    return rows


def _system_rows(system: FileSystem, *, apart: bool) -> List[List[str]]:
    where = f"{system.path} " if apart else ""
    if not system.files:
        return [[f"{where}used on the file system", f"{system.kind} does not count inodes"]]
    share = f"{100 * system.used / system.files:.0f} %"
    return [
        [f"{where}the {system.kind} file system's own", str(system.own)],
        [f"{where}elsewhere on it", str(system.elsewhere)],
        [
            f"{where}used on the file system",
            f"{system.used} of {system.files} ({share}), {system.free} free",
        ],
    ]


def _show_remarks(made: Report) -> None:
    if made.moving:
        output.remark(
            "Something was changed in the data-root meanwhile: the figures are of no one moment."
        )
    if made.unreadable:
        output.remark(
            f"{len(made.unreadable)} directories could not be read; what is below is not counted:"
        )
        for path in made.unreadable[:_MOST_UNREADABLE]:
            output.remark(f"  {path}")
        if len(made.unreadable) > _MOST_UNREADABLE:
            output.remark(f"  and {len(made.unreadable) - _MOST_UNREADABLE} more (--json has all)")
