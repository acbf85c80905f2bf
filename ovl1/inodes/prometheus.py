"""The report as gauges in Prometheus' text format, for node_exporter's textfile collector.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. All series carry no time, as
the collector demands; it tells the file's own as ``node_textfile_mtime_seconds``. A figure that the
report does not know has no series. Names that images chose become labels only with what could act
in them escaped, so that the text is UTF-8 and one line for each series whatever they are.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator, Mapping, NamedTuple, Sequence, Tuple

from ovl1.formats import readable
from ovl1.inodes.report import Report, Share
from ovl1.inodes.tally import Counts

Sample = Tuple[Mapping[str, str], float]
"""The labels that tell a series from its fellows, and its value."""


class _Gauge(NamedTuple):
    help: str
    samples: Callable[[Report], Iterator[Sample]]


def exposition(made: Report) -> str:
    """All gauges of a report."""
    store = {"data_root": str(made.data_root), "driver": made.driver}
    return "".join(
        line for name, gauge in GAUGES.items() for line in _lines(name, gauge, made, store)
    )


def _lines(name: str, gauge: _Gauge, made: Report, store: Mapping[str, str]) -> Iterator[str]:
    samples = list(gauge.samples(made))
    if not samples:
        return
    yield f"# HELP {name} {gauge.help}\n"
    yield f"# TYPE {name} gauge\n"
    for labels, value in samples:
        told = ",".join(f'{key}="{_label(text)}"' for key, text in {**store, **labels}.items())
        yield f"{name}{{{told}}} {value}\n"


def _label(text: str) -> str:
    """A label's value: backslash and quote escaped; line breaks are gone already."""
    return readable.escaped(text).replace("\\", "\\\\").replace('"', '\\"')


def _store(value: Callable[[Report], float]) -> Callable[[Report], Iterator[Sample]]:
    """One series for the whole report."""
    return lambda made: iter([({}, value(made))])


def _as_overlay2(made: Report) -> Iterator[Sample]:
    if made.total_as_overlay2 is not None:
        yield {}, made.total_as_overlay2


def _bytes(made: Report) -> Iterator[Sample]:
    if made.with_bytes:
        yield {}, made.bytes


def _system(figure: str) -> Callable[[Report], Iterator[Sample]]:
    def samples(made: Report) -> Iterator[Sample]:
        for system in made.file_systems:
            if system.files:
                yield {"path": system.path, "fstype": system.kind}, getattr(system, figure)

    return samples


def _kinds(made: Report) -> Iterator[Sample]:
    for share in made.kinds:
        for of, number in _typed(share.tree, share.overhead):
            yield {"kind": share.id, "type": of}, number


def _typed(tree: Counts, overhead: int) -> Sequence[Tuple[str, int]]:
    return (
        ("directory", tree.directories),
        ("symlink", tree.symlinks),
        ("special", tree.specials),
        ("file", tree.files),
        ("driver", overhead),
    )


def _names(made: Report) -> Iterator[Sample]:
    return (({"kind": share.id}, share.tree.shared) for share in made.kinds)


def _kind_layers(made: Report) -> Iterator[Sample]:
    return (({"kind": share.id}, share.layers) for share in made.kinds)


def _kind_bytes(made: Report) -> Iterator[Sample]:
    if made.with_bytes:
        yield from (({"kind": share.id}, share.bytes) for share in made.kinds)


def _layers(made: Report) -> Iterator[Sample]:
    return (({"layer": use.name, "kind": use.kind}, use.inodes) for use in made.layers)


def _directories(made: Report) -> Iterator[Sample]:
    yield {"directory": made.driver}, made.in_layers
    for name, counts in made.others:
        yield {"directory": name}, counts.inodes


def _shares(what: str, figure: str) -> Callable[[Report], Iterator[Sample]]:
    def samples(made: Report) -> Iterator[Sample]:
        shares: Sequence[Share] = made.images if what == "image" else made.containers
        for share in shares:
            yield {what: share.id, "name": " ".join(share.names)}, getattr(share, figure)

    return samples


def _paths(made: Report) -> Iterator[Sample]:
    return (({"path": use.path}, use.inodes) for use in made.paths)


def _more_layers(made: Report) -> Iterator[Sample]:
    left = [each.more_layers for each in made.linked if each.more_layers is not None]
    if left:
        yield {}, min(left)


GAUGES: Dict[str, _Gauge] = {
    "ovl1_data_root_inodes": _Gauge("Inodes of the data-root.", _store(lambda made: made.total)),
    "ovl1_data_root_bytes": _Gauge("Bytes that these take on the disk (--bytes).", _bytes),
    "ovl1_data_root_overlay2_inodes": _Gauge(
        "Inodes of the data-root once it is migrated to overlay2 and purged (--overlay2).",
        _as_overlay2,
    ),
    "ovl1_directory_inodes": _Gauge(
        "Inodes of each top-level directory; that of . is the data-root itself.", _directories
    ),
    "ovl1_kind_inodes": _Gauge(
        "Inodes of layers, by whose they are and by type; driver is what it keeps around them.",
        _kinds,
    ),
    "ovl1_kind_bytes": _Gauge("Bytes that these take on the disk (--bytes).", _kind_bytes),
    "ovl1_kind_shared_names": _Gauge(
        "Further names of inodes that are counted in another place: they take none.", _names
    ),
    "ovl1_kind_layers": _Gauge("Layers, by whose they are.", _kind_layers),
    "ovl1_layer_inodes": _Gauge("Inodes of each layer.", _layers),
    "ovl1_image_inodes": _Gauge("Inodes of all layers of each image.", _shares("image", "inodes")),
    "ovl1_image_own_inodes": _Gauge(
        "Inodes of those layers of each image that nothing else uses.", _shares("image", "own")
    ),
    "ovl1_container_inodes": _Gauge(
        "Inodes of each container's own layers.", _shares("container", "inodes")
    ),
    "ovl1_path_inodes": _Gauge("Inodes of the heaviest directory trees of all layers.", _paths),
    "ovl1_layers_until_link_limit": _Gauge(
        "Layers that can still be made on the file that is nearest to its limit of names.",
        _more_layers,
    ),
    "ovl1_file_system_inodes": _Gauge("Inodes that the file system has.", _system("files")),
    "ovl1_file_system_used_inodes": _Gauge("Inodes in use.", _system("used")),
    "ovl1_file_system_free_inodes": _Gauge("Inodes left.", _system("free")),
    "ovl1_file_system_own_inodes": _Gauge(
        "Inodes that the file system keeps for itself, outside of the data-root.", _system("own")
    ),
    "ovl1_file_system_elsewhere_inodes": _Gauge(
        "Inodes in use that are neither of this data-root nor the file system's own.",
        _system("elsewhere"),
    ),
    "ovl1_report_unreadable_directories": _Gauge(
        "Directories whose content could not be read, and is not counted.",
        _store(lambda made: len(made.unreadable)),
    ),
    "ovl1_report_moving": _Gauge(
        "1 if something was changed while it was counted.", _store(lambda made: int(made.moving))
    ),
}
"""Every gauge by its name."""
