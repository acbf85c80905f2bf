"""What a benchmark has found, for people and for programs.

Schema 1 of ``--json``: keys are only ever added; what changes or goes raises the number. The rows
of ``--csv`` are its ``points``. An ``inodes`` of null is one that was not measured, since nobody
builds that layout here, or that the file system does not count.
"""

from __future__ import annotations

import csv
import io
import os
import platform
from typing import Any, Dict, Iterator, List, Optional, Sequence

import click

from ovl1 import __version__
from ovl1.bench.disk import WITHOUT_INODE_COUNT
from ovl1.bench.results import Effort, Result, Run
from ovl1.bench.steps import Source, Step
from ovl1.cli import output
from ovl1.inodes.lineage import ABOUT, OVERLAY2

SCHEMA = 1
COLUMNS = (
    "file_system",
    "layout",
    "image",
    "layers",
    "layers_in_store",
    "inodes",
    "predicted",
    "difference",
    "bytes",
    "seconds",
)
_NO_COUNT = (
    f"{WITHOUT_INODE_COUNT} makes inodes as it needs them and counts none, so there is nothing to "
    "compare: bytes only."
)


def points(result: Result) -> Iterator[Dict[str, Any]]:
    """A row for each layout, file system and step; of what is predicted only, without the one."""
    for run in result.runs:
        for point in run.points:
            yield {
                **_place(run.file_system, run.layout, point.step),
                "inodes": point.used.inodes,
                "predicted": point.predicted,
                "difference": point.difference,
                "bytes": point.used.bytes,
                "seconds": round(point.seconds, 4),
            }
    built = {run.layout for run in result.runs}
    for layout, prediction in result.predictions.items():
        if layout not in built and not prediction.refused:
            for step, predicted in zip(result.steps, prediction.inodes):
                found = {**_place(None, layout, step), "predicted": predicted}
                yield {column: found.get(column) for column in COLUMNS}


def _place(file_system: Optional[str], layout: str, step: Step) -> Dict[str, Any]:
    return {
        "file_system": file_system,
        "layout": layout,
        "image": step.source,
        "layers": step.layers,
        "layers_in_store": step.layers_in_store,
    }


def values(result: Result, sources: Sequence[Source], about: Dict[str, Any]) -> Dict[str, Any]:
    """For programs; `about` is what the images were made from."""
    return {
        "schema": SCHEMA,
        "ovl1": __version__,
        "python": platform.python_version(),
        "kernel": os.uname().release,
        **about,
        "images": [
            {"name": source.name, "layers": [layer.diff_id for layer in source.image.layers]}
            for source in sources
        ],
        "points": list(points(result)),
        "runs": [_run(run) for run in result.runs],
        "layouts": [_layout(result, layout) for layout in result.predictions],
        "differences": result.differences,
    }


def _run(run: Run) -> Dict[str, Any]:
    return {
        "file_system": run.file_system,
        "layout": run.layout,
        "empty_store": {
            "inodes": run.empty.inodes,
            "predicted": run.empty_predicted,
            "bytes": run.empty.bytes,
        },
        "creation": _effort(run.creation),
        "removal": _effort(run.removal),
        "left": {
            "inodes": run.left.inodes,
            "predicted": run.left_predicted,
            "bytes": run.left.bytes,
        },
        "refused": run.refused,
    }


def _effort(effort: Effort) -> Dict[str, Any]:
    return {"seconds": round(effort.seconds, 4), "peak_bytes": effort.peak}


def as_csv(result: Result) -> str:
    """The points, with a line of titles; what is null in JSON is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(points(result))
    return file.getvalue()


def show(result: Result, sources: Sequence[Source]) -> None:
    """For people."""
    several = len(sources) > 1
    for kind in dict.fromkeys(run.file_system for run in result.runs):
        runs = [run for run in result.runs if run.file_system == kind]
        click.echo(f"{kind}, more than the empty store:")
        if kind == WITHOUT_INODE_COUNT:
            click.echo(_NO_COUNT)
        titles = ["LAYERS", "LAYOUT", ">INODES", ">PREDICTED", ">DIFFERENCE", ">BYTES", ">SECONDS"]
        rows = list(_measured(runs, several=several))
        output.print_table([*(["IMAGE"] if several else []), *titles], rows)
        click.echo()
    _show_layouts(result)
    if result.runs:
        click.echo()
        _show_efforts(result.runs)


def _measured(runs: Sequence[Run], *, several: bool) -> Iterator[List[str]]:
    """Step by step, the layouts below each other."""
    for points in zip(*(run.points for run in runs if run.points)):
        for run, point in zip((run for run in runs if run.points), points):
            yield [
                *([str(point.step.source)] if several else []),
                str(point.step.layers),
                run.layout,
                _number(point.used.inodes),
                str(point.predicted),
                _number(point.difference),
                output.human_size(point.used.bytes),
                f"{point.seconds:.2f}",
            ]


def _layout(result: Result, layout: str) -> Dict[str, Any]:
    """What is predicted for a layout in the end."""
    prediction, base = result.predictions[layout], result.predictions.get(OVERLAY2)
    inodes = None if prediction.refused else prediction.inodes[-1]
    factor = None
    if inodes is not None and base is not None and not base.refused:
        factor = round(inodes / base.inodes[-1], 4)
    return {
        "layout": layout,
        "inodes": inodes,
        "of_overlay2": factor,
        "built": any(run.layout == layout and run.points for run in result.runs),
        "refused": prediction.refused,
    }


def _show_layouts(result: Result) -> None:
    rows = []
    for layout in result.predictions:
        found = _layout(result, layout)
        about = ABOUT[layout] if found["built"] else f"{ABOUT[layout]} (predicted only)"
        if found["refused"]:
            about = f"cannot be loaded: {found['refused']}"
        factor = "-" if found["of_overlay2"] is None else f"{found['of_overlay2']:.2f}"
        rows.append([layout, _number(found["inodes"]), factor, about])
    output.print_table(["IN THE END", ">INODES", ">OF OVERLAY2", "WHAT IT IS"], rows)


def _show_efforts(runs: Sequence[Run]) -> None:
    titles = ["WHAT IT TOOK", "LAYOUT", ">EMPTY STORE", ">CREATION", ">MEMORY"]
    titles += [">REMOVAL", ">MEMORY", ">LEFT"]
    rows = [
        [
            run.file_system,
            run.layout,
            _number(run.empty.inodes),
            f"{run.creation.seconds:.2f} s",
            output.human_size(run.creation.peak),
            f"{run.removal.seconds:.2f} s",
            output.human_size(run.removal.peak),
            _number(run.left.inodes),
        ]
        for run in runs
        if not run.refused
    ]
    output.print_table(titles, rows)


def _number(number: Optional[int]) -> str:
    return "-" if number is None else str(number)
