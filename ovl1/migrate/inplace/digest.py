"""What a view shows, as one number: to be taken before a conversion in place, and after it.

Of a file its inode number counts instead of its content. Since nothing writes into a file between,
and no inode of the store is freed and used again as long as it has a name, the same number under
the same name is the same content, and nothing needs to be read. Of what holds no bytes, which
every layer of Docker's has anew, the target or the device number count, and which names in the view
share an inode. No whiteout is ever in a view.

A file that was a copy of the parent's is another inode when it went: its bytes have been compared
then, and its old number is in the record. Therefore the digests of all layers are to be taken once,
before anything is converted, and never again before all is undone.
"""

from __future__ import annotations

import hashlib
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ovl1.linux import xattrs
from ovl1.linux.beneath import DIR, FILE, LINK, Directory
from ovl1.tree.compare import visible_xattrs
from ovl1.tree.view import Cursor, Found, MergedDir, Parts, StackView

_MOST_KNOWN = 1 << 16
"""Inodes; what is not known is asked of the disk again, so that memory does not grow."""


class Said(NamedTuple):
    """What there is to say about something else than a directory."""

    digest: bytes
    """Of the metadata of a file that is not empty; else nothing."""
    other: Tuple[object, ...]
    """Of anything else: metadata; modification time; target or device number."""
    attributes: Tuple[Tuple[bytes, bytes], ...]
    has_more_names: bool


Known = Dict[int, Said]
"""By inode number, what has been said: the same for all views of one moment."""


def view_digest(
    view: StackView,
    replaced: Sequence[Mapping[Parts, int]] = (),
    *,
    known: Optional[Known] = None,
    directory_times: bool = True,
) -> str:
    """SHA-256, in hexadecimal, over all that a view shows.

    Args:
        replaced: for each layer of the view, topmost first, the files whose inode numbers changed,
            with those that they had; see `replaced_inodes`.
        known: kept over several views of the same store, while nothing changes it.
        directory_times: whether modification times of directories count.
    """
    walk = _Walk(view, replaced, {} if known is None else known, directory_times=directory_times)
    return walk.digest()


class _Walk:
    def __init__(
        self,
        view: StackView,
        replaced: Sequence[Mapping[Parts, int]],
        known: Known,
        *,
        directory_times: bool,
    ) -> None:
        self._view, self._known = view, known
        self._replaced = replaced if any(replaced) else ()
        self._directory_times = directory_times
        self._hash = hashlib.sha256()
        self._groups: Dict[int, int] = {}
        self._alike: Dict[Said, Said] = {}
        self._entries_seen = 0

    def digest(self) -> str:
        pending: List[Parts] = [()]
        with Cursor(self._view) as cursor:
            while pending:
                parts = pending.pop()
                here = cursor.at(parts)
                self._add(parts, self._directory(here.top))
                pending += reversed(self._entries(parts, here))
        return self._hash.hexdigest()

    def _entries(self, parts: Parts, here: MergedDir) -> List[Parts]:
        below: List[Parts] = []
        for name, found in sorted(here.entries.items()):
            if found.kind == DIR:
                below.append((*parts, name))
                continue
            self._entries_seen += 1
            said = self._known.get(found.inode) or self._ask(here.layer_of(found), name, found)
            if said.digest:
                inode = self._inode((*parts, name), found, here.layers[found.depth])
                self._add(name, inode, said.digest)
            else:
                group = self._group(found, said)
                self._add(name, (*said.other, group, list(said.attributes)))
        return below

    def _add(self, *what: object) -> None:
        self._hash.update(repr(what).encode())

    def _inode(self, path: Parts, found: Found, layer: int) -> int:
        """The number that the file had before the conversion."""
        for replaced in self._replaced[:layer]:
            if path in replaced:
                return replaced[path]
        return found.inode

    def _directory(self, directory: Directory) -> Tuple[object, ...]:
        status = directory.stat()
        time = status.st_mtime_ns if self._directory_times else 0
        return (_common(status), time, _shown(xattrs.read_fd(directory.fd)))

    def _ask(self, directory: Directory, name: bytes, found: Found) -> Said:
        status = directory.lstat(name)
        common, time, size = _common(status), status.st_mtime_ns, status.st_size
        attributes = _attributes(directory, name)
        if found.kind == FILE and size:
            what = repr((common, time, size, attributes)).encode()
            said = Said(hashlib.sha256(what).digest(), (), (), status.st_nlink > 1)
        else:
            target = directory.readlink(name) if found.kind == LINK else status.st_rdev
            other = common, time, target
            said = Said(b"", other, tuple(attributes), status.st_nlink > 1)
        if said.has_more_names and len(self._known) < _MOST_KNOWN:
            # Empty files are often all alike.
            self._known[found.inode] = said if said.digest else self._alike.setdefault(said, said)
        return said

    def _group(self, found: Found, said: Said) -> int:
        """Which earlier name of the view is the same inode; names in other layers do not matter."""
        if not said.has_more_names:
            return -1
        first = self._groups.setdefault(found.inode, self._entries_seen)
        return first if first != self._entries_seen else -1


def _common(status: os.stat_result) -> Tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _attributes(directory: Directory, name: bytes) -> List[Tuple[bytes, bytes]]:
    return _shown(xattrs.read_at(directory.fd, name))


def _shown(attributes: xattrs.Xattrs) -> List[Tuple[bytes, bytes]]:
    return sorted((os.fsencode(n), value) for n, value in visible_xattrs(attributes).items())
