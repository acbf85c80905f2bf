"""A picture of a benchmark: inodes and bytes against layers, a line for each layout.

Drawn by matplotlib, which is wanted for nothing else and imported when it is.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any, List

from ovl1.bench.results import Result, Run
from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.inodes.lineage import (
    DOCKER_OVERLAY,
    DOCKER_OVERLAY2,
    IDEAL,
    OVERLAY,
    OVERLAY2,
    VFS,
)

FORMATS = ("svg", "png", "pdf")

# Okabe and Ito's, which colour-blind people can tell apart.
_COLOURS = {
    OVERLAY: "#d55e00",
    DOCKER_OVERLAY: "#e69f00",
    OVERLAY2: "#0072b2",
    DOCKER_OVERLAY2: "#56b4e9",
    VFS: "#000000",
    IDEAL: "#009e73",
}
_MIB = 1 << 20


def prepare(path: Path) -> None:
    """See to it that a picture can be drawn there, before anything takes long.

    Raises:
        WrongUsage: its name does not end as a picture's does.
        NotPossibleHere: there is no matplotlib.
    """
    if path.suffix.lstrip(".") not in FORMATS:
        raise WrongUsage(f"{path} is to end in {', '.join(f'.{name}' for name in FORMATS)}")
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as err:
        raise NotPossibleHere(
            "a plot needs matplotlib, which is not installed",
            resolution="Install it (pip install 'ovl1[plot]'), or take --csv and plot that.",
        ) from err


def draw(result: Result, title: str, path: Path) -> None:
    """Draw it.

    Raises:
        OSError: `path` cannot be written.
    """
    kinds = list(dict.fromkeys(run.file_system for run in result.runs))
    height = 4.5 * max(1, len(kinds))
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(12, height), layout="constrained"
    )
    panels = figure.subplots(max(1, len(kinds)), 2, squeeze=False)
    for kind, (inodes, space) in zip(kinds or [""], panels):
        runs = [run for run in result.runs if run.file_system == kind and run.points]
        _inodes(inodes, result, runs, kind)
        _bytes(space, runs, kind)
    figure.suptitle(title)
    drawn = io.BytesIO()
    kind = path.suffix.lstrip(".")
    # The same figures are to give the same picture.
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(drawn, format=kind, metadata=metadata)
    path.write_bytes(drawn.getvalue())


def _inodes(axes: Any, result: Result, runs: List[Run], kind: str) -> None:
    layers = [step.layers_in_store for step in result.steps]
    counted = {run.layout: run for run in runs if run.empty.inodes is not None}
    for layout, prediction in result.predictions.items():
        if prediction.refused:
            continue
        if layout in counted:
            figures = [point.used.inodes for point in counted[layout].points]
            _line(axes, layers, figures, layout, measured=True)
        else:
            _line(axes, layers, prediction.inodes, layout, measured=False)
    _label(axes, "inodes more than the empty store", kind)


def _bytes(axes: Any, runs: List[Run], kind: str) -> None:
    for run in runs:
        layers = [point.step.layers_in_store for point in run.points]
        figures = [point.used.bytes / _MIB for point in run.points]
        _line(axes, layers, figures, run.layout, measured=True)
    _label(axes, "MiB more than the empty store", kind)


def _line(axes: Any, layers: List[int], figures: List[Any], layout: str, *, measured: bool) -> None:
    axes.plot(
        layers,
        figures,
        color=_COLOURS[layout],
        linestyle="-" if measured else "--",
        marker="o" if measured else None,
        markersize=4,
        label=layout if measured else f"{layout} (predicted)",
    )


def _label(axes: Any, what: str, kind: str) -> None:
    axes.set_title(kind)
    axes.set_xlabel("layers in the store")
    axes.set_ylabel(what)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(visible=True, alpha=0.3)
    if axes.has_data():
        axes.legend()
