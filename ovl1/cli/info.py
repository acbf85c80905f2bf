"""``ovl1 info``: what a data-root holds, what its host can do, what Docker would do with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, json_option
from ovl1.errors import OvlError
from ovl1.linux import mounts
from ovl1.linux.probe import Ability, probe
from ovl1.plugin.adopt import ENGINES as PLUGIN_ENGINES
from ovl1.plugin.adopt import adopted, unfinished
from ovl1.store.discovery import DataRoot, discover
from ovl1.store.engines import engine_verdicts
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.store import Store


@dataclass(frozen=True)
class Backing:
    """The file system that the data-root lies on."""

    fstype: str
    source: str
    inodes: int
    inodes_free: int
    bytes: int
    bytes_free: int


@click.command()
@click.option(
    "--no-probe",
    is_flag=True,
    help="Do not try the abilities of the file system, which writes a scratch directory to it.",
)
@json_option
@click.pass_obj
def command(context: Context, *, no_probe: bool) -> None:
    """What the data-root holds, and what each Docker engine would do with it.

    With -v also every problem found in the stores. If a migration is not finished, that is said
    last, and the exit code is 3.

    \b
    Examples:
      ovl1 info
      ovl1 --data-root /mnt/old/docker -v info --no-probe
    """
    root = discover(context.data_root)
    backing = _backing(root.path)
    abilities = {} if no_probe or root.half_migrated else _abilities(root.path)
    stores, unread = _stores(root)
    verdicts = engine_verdicts(root)
    if context.as_json:
        output.print_json(
            {
                "data_root": str(root.path),
                "backing": vars(backing),
                "kernel": os.uname().release,
                "abilities": {name: found._asdict() for name, found in abilities.items()},
                "stores": _stores_as_json(root, stores, unread),
                "converted_from_graph": root.converted,
                "half_migrated": root.half_migrated,
                "sub_roots": [str(path) for path in root.sub_roots],
                "engines": [vars(verdict) for verdict in verdicts],
                "plugins": {
                    "stores": [vars(store) for store in adopted(root.path)],
                    "engines": dict(PLUGIN_ENGINES),
                },
            }
        )
        root.refuse_if_half_migrated()
        return
    output.print_fields(_fields(root, backing, stores, unread))
    if abilities:
        _title("Abilities of this host on that file system")
        output.print_fields([[name, _ability(found)] for name, found in abilities.items()])
    if root.drivers and not context.quiet:
        _title("What Docker engines would do with it")
        output.print_table(
            ["ENGINE", "WITHOUT A CONFIGURED DRIVER", 'WITH "storage-driver": "overlay"'],
            [[v.engine, v.unset_text, v.configured_text] for v in verdicts],
        )
    if not context.quiet:
        _print_plugins(root)
    _print_problems(context, stores)
    root.refuse_if_half_migrated()


def _print_plugins(root: DataRoot) -> None:
    """What concerns ovl1's plugin: for stores that are its own, or could be."""
    mine, begun = adopted(root.path), unfinished(root.path)
    if not mine and begun is None and OVERLAY not in root.drivers:
        return
    _title("With ovl1 as Docker's storage driver (ovl1 adopt, ovl1 serve)")
    output.print_fields([[f"Store {store.name}", f"a plugin's, {store.layout}"] for store in mine])
    if begun is not None:
        again = f"half-way from {begun.old} to {begun.new}: run ovl1 adopt, or with --undo"
        output.print_fields([["Do not start Docker", again]])
    output.print_table(["ENGINE", "DOES"], [list(line) for line in PLUGIN_ENGINES])


def _abilities(directory: Path) -> Dict[str, Ability]:
    """A full, or read-only, or foreign file system must not keep the rest from being shown."""
    try:
        return probe(directory)
    except OSError as error:
        return {"any": Ability(works=False, reason=f"could not be tried: {error.strerror}")}


def _backing(path: Path) -> Backing:
    usage = os.statvfs(path)
    name = os.fsencode(path)
    holding = [
        point
        for point in mounts.mount_points()
        if name == point.path or name.startswith(point.path.rstrip(b"/") + b"/")
    ]
    # Of mounts on the same directory the last one counts.
    point = max(enumerate(holding), key=lambda item: (len(item[1].path), item[0]), default=None)
    return Backing(
        fstype=point[1].fstype if point else "unknown",
        source=os.fsdecode(point[1].source) if point else "unknown",
        inodes=usage.f_files,
        inodes_free=usage.f_ffree,
        bytes=usage.f_blocks * usage.f_frsize,
        bytes_free=usage.f_bfree * usage.f_frsize,
    )


def _stores(root: DataRoot) -> Tuple[Dict[str, Store], Dict[str, str]]:
    """The stores that ovl1 can read, and why it cannot read the others."""
    stores: Dict[str, Store] = {}
    unread: Dict[str, str] = {}
    for found in root.stores:
        if found.driver not in (OVERLAY, OVERLAY2):
            unread[found.driver] = "ovl1 does not read this driver's store"
            continue
        try:
            stores[found.driver] = Store.open(root.path, found.driver)
        except OvlError as error:
            unread[found.driver] = str(error)
    return stores, unread


def _fields(
    root: DataRoot, backing: Backing, stores: Dict[str, Store], unread: Dict[str, str]
) -> List[List[str]]:
    fields = [
        ["Data-root", str(root.path)],
        ["Backing file system", f"{backing.fstype} on {backing.source}"],
        ["Inodes", _share(backing.inodes - backing.inodes_free, backing.inodes, str)],
        ["Bytes", _share(backing.bytes - backing.bytes_free, backing.bytes, output.human_size)],
        ["Kernel", os.uname().release],
    ]
    fields += [[f"Store {driver}", _summary(store)] for driver, store in stores.items()]
    for driver, why in unread.items():
        lines = why.splitlines()
        fields += [[f"Store {driver}" if at == 0 else "", line] for at, line in enumerate(lines)]
    if root.half_migrated:
        fields.append(["Migration", "not finished: run `ovl1 migrate status`"])
    elif not root.stores:
        fields.append(["Stores", "none of any driver"])
    if root.converted:
        fields.append(["graph/", "left behind by the upgrade from the form before Docker 1.10"])
    fields += [["Data-root of a user namespace", str(path)] for path in root.sub_roots]
    return fields


def _share(used: int, total: int, shown: Any) -> str:
    if not total:  # btrfs makes inodes as it needs them.
        return "unlimited"
    return f"{shown(used)} of {shown(total)} used ({100 * used / total:.0f} %), " + (
        f"{shown(total - used)} free"
    )


def _counts(store: Store) -> Dict[str, int]:
    orphans = store.orphans()
    return {
        "images": len(store.images),
        "layers": len(store.layers),
        "containers": len(store.containers),
        "containers_of_other_drivers": len(store.foreign_containers),
        "trees": len(store.trees),
        "orphans": sum(not tree.is_buildkit for tree in orphans),
        "buildkit_cache": sum(tree.is_buildkit for tree in orphans),
        "errors": len(store.errors),
        "notes": len(store.problems) - len(store.errors),
    }


def _summary(store: Store) -> str:
    return ", ".join(
        f"{count} {_counted(name, count)}"
        for name, count in _counts(store).items()
        if count or name in ("images", "layers", "containers", "errors")
    )


def _counted(name: str, count: int) -> str:
    noun, *rest = name.split("_")
    return " ".join([noun.rstrip("s") if count == 1 else noun, *rest])


def _ability(found: Ability) -> str:
    return "yes" if found.works else f"no: {found.reason}"


def _print_problems(context: Context, stores: Dict[str, Store]) -> None:
    problems = [problem for store in stores.values() for problem in store.problems]
    if problems and context.verbosity > 0:
        _title("Problems")
        columns = ["GRADE", "WHERE", "WHAT", "WHAT TO DO"]
        output.print_table(
            columns, [[p.grade, str(p.where), p.what, p.resolution] for p in problems]
        )
    elif any(problem.is_error for problem in problems) and not context.quiet:
        output.remark("`ovl1 -v info` lists the errors.")


def _title(text: str) -> None:
    click.echo(f"\n{text}:")


def _stores_as_json(
    root: DataRoot, stores: Dict[str, Store], unread: Dict[str, str]
) -> List[Dict[str, Any]]:
    return [
        {
            "driver": found.driver,
            "path": str(found.path),
            "legacy": found.is_legacy,
            "counts": _counts(stores[found.driver]) if found.driver in stores else None,
            "why_not_read": unread.get(found.driver),
            "problems": _problems(stores.get(found.driver)),
        }
        for found in root.stores
    ]


def _problems(store: Optional[Store]) -> List[Dict[str, str]]:
    return [
        {"grade": p.grade, "where": str(p.where), "what": p.what, "resolution": p.resolution}
        for p in (store.problems if store else ())
    ]
