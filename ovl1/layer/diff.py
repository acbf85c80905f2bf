"""A layer as the tar that Docker would make of it, without mounting anything.

`diff` is what Docker's drivers write that compare two trees (moby ``pkg/archive/changes.go``,
``ExportChanges``): v1 always. `native_diff` is what overlay2 writes (``TarWithOptions``): its own
directory as it is. The same layer gives the same bytes, at any time. They are Docker's bytes but
for the times of deletions: Docker writes "now", here it is the time of the whiteout device, or
else of the directory.

How the single entries look is told in `ovl1.layer.pack`. A hard link to a file that has not
changed becomes a file of its own (moby#5632). Limits: ids within POSIX ACLs are not mapped; an
extended attribute with an empty value is written, but Docker drops it when it reads the tar; one
that a directory has lost is there again in the applied layer, because directories merge.
"""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, List, Optional, Tuple

from ovl1.formats import tarwriter
from ovl1.layer.changes import changes
from ovl1.layer.pack import LeftOut, Packer, silently
from ovl1.linux.beneath import DIR, Directory
from ovl1.model import ChangeKind, IdMaps
from ovl1.tree.marks import is_whiteout
from ovl1.tree.view import Cursor, MergedDir, StackView

_NO_IDS = IdMaps()


def diff(
    new: StackView,
    old: Optional[StackView],
    *,
    docker: bool = False,
    id_maps: IdMaps = _NO_IDS,
    left_out: LeftOut = silently,
    owner_names: bool = False,
) -> Iterator[bytes]:
    """What changed between two views, as an uncompressed tar in chunks of at most 1 MiB.

    Sorted bytewise by path; deletions are empty files ``.wh.NAME``. All changes are known before
    the first chunk comes.

    Args:
        old: None for the whole tree of `new`, directory by directory.
        docker: only the changes that Docker sees, and of extended attributes only capabilities;
            otherwise `ovl1.layer.changes.changes` in its exact form, and all attributes.
        id_maps: owners on disk are the host's, those in the tar the container's.
        owner_names: see `ovl1.layer.pack.Packer`.

    Raises:
        LayerError: a file changed while it was read, has no place in a layer (``.wh.NAME``, but
            not for `docker`), or an id that is not in the maps. Docker goes on without the file.
    """
    packer = Packer(id_maps, left_out, docker=docker, owner_names=owner_names)
    with Cursor(new) as cursor:
        if old is None:
            for here, name, path in _walk(cursor.at(()), lambda here: here.entries):
                yield from packer.add(here, name, path)
        else:
            for change in changes(new, old, docker=docker):
                path = change.path[1:]
                *above, name = path.split(b"/")
                if change.kind == ChangeKind.DELETED:
                    yield packer.deletion(path, _deletion_time(cursor, above, name))
                else:
                    yield from packer.add(_layer_of(cursor.at(above), name), name, path)
    yield tarwriter.END


def native_diff(
    upper: Directory,
    *,
    docker: bool = False,
    id_maps: IdMaps = _NO_IDS,
    left_out: LeftOut = silently,
    owner_names: bool = False,
) -> Iterator[bytes]:
    """What lies in a layer's own directory, as overlay2's ``Diff`` writes it.

    In the order of a walk, siblings sorted. A whiteout device becomes ``.wh.NAME``, and an opaque
    directory is followed by its mark ``.wh..wh..opq``. Arguments and errors as for `diff`.
    """
    packer = Packer(id_maps, left_out, docker=docker, native=True, owner_names=owner_names)
    with StackView([upper]).root() as root:
        for here, name, path in _walk(root, lambda here: (at.name for at in here.top.names())):
            yield from packer.add(here, name, path)
    yield tarwriter.END


def _walk(
    root: MergedDir, names: Callable[[MergedDir], Iterable[bytes]]
) -> Iterator[Tuple[Directory, bytes, bytes]]:
    """The directory, name and path of each entry, as Go's ``filepath.Walk`` comes to them."""
    frames: List[Tuple[MergedDir, bytes, Iterator[bytes]]] = [
        (root, b"", iter(sorted(names(root))))
    ]
    try:
        while frames:
            here, prefix, todo = frames[-1]
            name = next(todo, None)
            if name is None:
                frames.pop()[0].close()
                continue
            yield _layer_of(here, name), name, prefix + name
            found = here.find(name)
            if found is not None and found.kind == DIR:
                child = here.child(name)
                frames.append((child, prefix + name + b"/", iter(sorted(names(child)))))
    finally:
        for here, _, _ in frames:
            here.close()


def _layer_of(here: MergedDir, name: bytes) -> Directory:
    """Where the entry lies; in a layer by itself, that may be a whiteout."""
    found = here.find(name)
    return here.top if found is None else here.source_of(name, found)


def _deletion_time(cursor: Cursor, above: List[bytes], name: bytes) -> int:
    """When a name was deleted, in nanoseconds, as far as the layer itself can tell."""
    try:
        here = cursor.at(above)
    except NotADirectoryError:
        # What Docker takes for a directory, and is a socket or a device.
        there = cursor.at(above[:-1])
        return _layer_of(there, above[-1]).lstat(above[-1]).st_mtime_ns
    for directory in here.stack:
        if directory.exists(name):
            status = directory.lstat(name)
            if is_whiteout(status):
                return status.st_mtime_ns
            break
    return here.top.stat().st_mtime_ns
