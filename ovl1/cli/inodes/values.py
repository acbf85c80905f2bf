"""``ovl1 inodes report --json``: the keys that programs may rely on.

Schema 1. Keys are only ever added; what changes or goes raises the number. `MEANING` says in a
sentence what each is, and goes out with the figures. Bytes are null where they were not asked for,
``limit`` and ``more_layers`` where the file system sets no limit.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Dict

from ovl1.inodes.report import FileSystem, LayerUse, Report, Share
from ovl1.inodes.tally import Counts

SCHEMA = 1

MEANING = {
    "schema": "The number of this form; keys may be added to it.",
    "data_root": "Docker's data directory.",
    "driver": "The storage driver whose layers are told apart.",
    "moving": "Whether something changed meanwhile, so that the figures are of no one moment.",
    "unreadable": "Directories that this user may not read: what is below is not counted.",
    "total": "Inodes of the data-root; each is counted once.",
    "bytes": "Bytes on the disk of the same inodes.",
    "in_layers": "Inodes of the driver's home directory with all layers.",
    "home": "The driver's home directory itself, and what in it is no layer's.",
    "total_as_overlay2": "Inodes of the data-root if the store were overlay2.",
    "no_overlay2": "Why that cannot be told.",
    "layers": "Each directory of the driver's home, parents before children.",
    "images": "What the layers of each image take.",
    "containers": "What the layers of each container take, without those of its image.",
    "kinds": "The same for all layers that belong to images, containers, nobody ...",
    "tags": "The same for each name of an image.",
    "others": "The data-root's other directories; '.' is itself with its files.",
    "paths": "The directory trees that take most, each in all layers that have it.",
    "most_linked": "The files that are nearest to the file system's limit of hard links.",
    "more_layers": "How many layers can still be made on it before link() fails with EMLINK.",
    "file_system": "The file system of the data-root.",
    "file_systems": "That, and the driver's home's if it is another one.",
    "meaning": "What each key means.",
    "tree": "What a layer holds.",
    "directories": "Directories: they cannot be shared, so each layer of overlay has all of them.",
    "files": "Regular files seen first here, parents being counted before children.",
    "symlinks": "Symbolic links seen first here; Docker makes them anew in every layer.",
    "specials": "Fifos, sockets and devices seen first here, whiteouts among them.",
    "shared": "Further names (hard links) of inodes that were counted before: they take none.",
    "names": "All names but those of directories; of most_linked: in the layer it came with.",
    "names_per_inode": "How many names each inode that is no directory has on average.",
    "inodes": "Inodes in use because of it.",
    "overhead": "Inodes that the storage driver keeps around the layers.",
    "own": "Inodes of layers that nothing else stands on: removing it frees them. Of a file "
    "system: what it keeps for itself.",
    "own_bytes": "Bytes on the disk of those.",
    "shared_with_others": "Inodes of layers that other images or containers stand on, too.",
    "frees": "Inodes of layers that removing this name frees: none unless it is the only one.",
    "id": "The image's or the container's.",
    "image": "The image that has this name.",
    "name": "The directory in the driver's home.",
    "kind": "Whose layer it is: image, container, init, buildkit, unused (nobody's), leftover (of "
    "an interrupted removal). Of a file system: its type.",
    "of": "The chain id or the container that the layer belongs to.",
    "path": "Below a layer's top, or below the data-root.",
    "inode": "Its number.",
    "links": "Hard links that it has.",
    "limit": "Hard links that the file system allows it.",
    "used": "Inodes in use on the file system.",
    "free": "Inodes left on it.",
    "docker": "Inodes of the data-root that lie on it.",
    "elsewhere": "Used inodes that are neither the data-root's nor the file system's own.",
}
"""What each key means. Keys of ``tags``, ``others``, ``kinds`` and ``meaning`` are names."""


def values(made: Report) -> Dict[str, Any]:
    """The report for programs."""
    found = {
        "schema": SCHEMA,
        "data_root": str(made.data_root),
        "driver": made.driver,
        "moving": made.moving,
        "unreadable": list(made.unreadable),
        "total": made.total,
        "bytes": made.bytes,
        "in_layers": made.in_layers,
        "home": made.home,
        "total_as_overlay2": made.total_as_overlay2,
        "no_overlay2": made.no_overlay2,
        "layers": [_layer(use) for use in made.layers],
        "images": [_share(share) for share in made.images],
        "containers": [_share(share) for share in made.containers],
        "kinds": {share.id: _share(share) for share in made.kinds},
        "tags": {name: _tag(share) for share in made.images for name in share.names},
        "others": {
            name: {"tree": _tree(counts), "inodes": counts.inodes, "bytes": counts.bytes}
            for name, counts in made.others
        },
        "paths": [
            {"path": use.path, "layers": use.layers, "inodes": use.inodes, "tree": _tree(use.tree)}
            for use in made.paths
        ],
        "most_linked": [{**asdict(each), "more_layers": each.more_layers} for each in made.linked],
        "more_layers": made.more_layers,
        "file_system": _file_system(made.file_system),
        "file_systems": [_file_system(each) for each in made.file_systems],
        "meaning": MEANING,
    }
    return found if made.with_bytes else _without_bytes(found)


def _tree(tree: Counts) -> Dict[str, Any]:
    return {
        **asdict(tree),
        "names": tree.names,
        "names_per_inode": tree.names_per_inode,
        "inodes": tree.inodes,
    }


def _layer(use: LayerUse) -> Dict[str, Any]:
    return {
        "name": use.name,
        "kind": use.kind,
        "of": use.of,
        "tree": _tree(use.tree),
        "overhead": use.overhead,
        "inodes": use.inodes,
        "bytes": use.bytes,
    }


def _share(share: Share) -> Dict[str, Any]:
    return {
        "id": share.id,
        "names": share.names,
        "layers": share.layers,
        "tree": _tree(share.tree),
        "overhead": share.overhead,
        "inodes": share.inodes,
        "bytes": share.bytes,
        "own": share.own,
        "own_bytes": share.own_bytes,
        "shared_with_others": share.shared,
    }


def _tag(share: Share) -> Dict[str, Any]:
    return {
        "image": share.id,
        "inodes": share.inodes,
        "own": share.own,
        "frees": share.own if len(share.names) == 1 else 0,
    }


def _file_system(system: FileSystem) -> Dict[str, Any]:
    return {**asdict(system), "free": system.free, "elsewhere": system.elsewhere}


def _without_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: (
                None
                if key in ("bytes", "own_bytes") and isinstance(below, int)
                else _without_bytes(below)
            )
            for key, below in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_bytes(below) for below in value]
    return value
