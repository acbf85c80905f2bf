"""Entries of a tree as Docker writes them into a layer's tar (moby ``pkg/archive/archive.go``).

Times are whole seconds, the mode carries the type, and capabilities lose the user namespace they
are bound to. What has no place in a tar (sockets) is left out. Where Docker drops a file that it
cannot read, here the whole fails.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Callable, Dict, Iterator, Tuple

from ovl1.errors import LayerError
from ovl1.formats import tarheader, tarwriter
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.tarstream import CHUNK
from ovl1.formats.whiteouts import OPAQUE as OPAQUE_MARK
from ovl1.formats.whiteouts import PREFIX, shown
from ovl1.linux import owners, xattrs
from ovl1.linux.beneath import Directory
from ovl1.model import IdMaps
from ovl1.tree.compare import CAPABILITY, refuse_metacopy, visible_xattrs
from ovl1.tree.marks import OPAQUE, is_whiteout

LeftOut = Callable[[bytes], None]
"""Told the path of each entry that cannot be in a tar."""

_SECOND = 1_000_000_000
_KINDS = {
    stat.S_IFREG: tarheader.FILE,
    stat.S_IFLNK: tarheader.SYMLINK,
    stat.S_IFCHR: tarheader.CHAR,
    stat.S_IFBLK: tarheader.BLOCK_DEVICE,
    stat.S_IFDIR: tarheader.DIR,
    stat.S_IFIFO: tarheader.FIFO,
}


def silently(path: bytes) -> None:
    """A `LeftOut` for when nobody wants to know."""


class Packer:
    """Writes the entries of one archive, and remembers which inodes it has written.

    Args:
        docker: of extended attributes keep only capabilities, and take any name.
        id_maps: owners on disk are the host's, those in the tar the container's.
        left_out: told the path of each socket.
        native: the tree is a layer by itself: whiteout devices and opaque directories are marks.
        owner_names: with the names that the host has for the owners, as builds of Docker without
            its own archive/tar have it; Docker leaves them out (CVE-2019-14271).
    """

    def __init__(
        self,
        id_maps: IdMaps,
        left_out: LeftOut,
        *,
        docker: bool,
        native: bool = False,
        owner_names: bool = False,
    ) -> None:
        self._docker = docker
        self._owner_names = owner_names
        self._ids = id_maps
        self._left_out = left_out
        self._native = native
        self._written: Dict[Tuple[int, int], bytes] = {}

    def deletion(self, path: bytes, time_ns: int) -> bytes:
        """The entry that removes `path`."""
        above, slash, name = path.rpartition(b"/")
        self._refuse_mark(path, name)
        return tarwriter.header(
            TarEntry(above + slash + PREFIX + name, tarheader.FILE, mtime_ns=_whole(time_ns))
        )

    def add(self, here: Directory, name: bytes, path: bytes) -> Iterator[bytes]:
        """The entry `name` of a directory, with its content if it is its first name."""
        status = here.lstat(name)
        self._refuse_mark(path, name)
        if stat.S_IFMT(status.st_mode) not in _KINDS:
            self._left_out(b"/" + path)
            return
        attributes = xattrs.read_at(here.fd, name)
        entry = self._entry(here, name, path, status, attributes)
        if self._native and is_whiteout(status):
            yield tarwriter.header(_hiding(entry, path, name))
        elif entry.kind == tarheader.FILE and entry.size:
            refuse_metacopy(here, name, attributes)
            yield from _file(here, name, entry, status)
        else:
            yield tarwriter.header(entry)
            if self._native and entry.kind == tarheader.DIR and attributes.get(OPAQUE) == b"y":
                yield tarwriter.header(_opaque(entry))

    def _entry(
        self,
        here: Directory,
        name: bytes,
        path: bytes,
        status: os.stat_result,
        attributes: xattrs.Xattrs,
    ) -> TarEntry:
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        linkname = here.readlink(name) if kind == tarheader.SYMLINK else b""
        size = status.st_size if kind == tarheader.FILE else 0
        if kind != tarheader.DIR and status.st_nlink > 1:
            first = self._written.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                kind, linkname, size = tarheader.HARDLINK, first, 0
        uid, gid = self._owner(name, status)
        return TarEntry(
            name=path + b"/" if kind == tarheader.DIR else path,
            kind=kind,
            mode=status.st_mode,
            uid=uid,
            gid=gid,
            size=size,
            stored=size,
            mtime_ns=_whole(status.st_mtime_ns),
            linkname=linkname,
            major=os.major(status.st_rdev),
            minor=os.minor(status.st_rdev),
            xattrs=self._xattrs(attributes),
            uname=owners.user_name(status.st_uid) if self._owner_names else b"",
            gname=owners.group_name(status.st_gid) if self._owner_names else b"",
        )

    def _owner(self, name: bytes, status: os.stat_result) -> Tuple[int, int]:
        if is_whiteout(status) or name.startswith(PREFIX):
            return status.st_uid, status.st_gid
        return self._ids.to_container(status.st_uid, status.st_gid)

    def _xattrs(self, attributes: xattrs.Xattrs) -> xattrs.Xattrs:
        kept = visible_xattrs(attributes)
        if self._docker:
            kept = {name: value for name, value in kept.items() if name == CAPABILITY}
        if CAPABILITY in kept:
            kept[CAPABILITY] = _portable(kept[CAPABILITY])
        return kept

    def _refuse_mark(self, path: bytes, name: bytes) -> None:
        if name.startswith(PREFIX) and not self._docker:
            raise LayerError(
                f"{shown(path)} cannot be in a layer",
                details="In a layer's tar, a name that starts with .wh. hides another one.",
                resolution="Rename it in the container.",
            )


def _file(here: Directory, name: bytes, entry: TarEntry, status: os.stat_result) -> Iterator[bytes]:
    with here.reading(name) as fd:
        if not here.lends(name):
            status = os.fstat(fd)  # Its metadata are another inode's.
        if not _is_as_before(fd, status) or status.st_size != entry.size:
            raise _changing(entry)
        yield tarwriter.header(entry)
        left = entry.size
        while left:
            chunk = os.read(fd, min(CHUNK, left))
            if not chunk:
                raise _changing(entry)
            left -= len(chunk)
            yield chunk
        if not _is_as_before(fd, status):
            raise _changing(entry)
    if entry.padding:
        yield tarwriter.padding(entry.size)


def _is_as_before(fd: int, status: os.stat_result) -> bool:
    now = os.fstat(fd)
    return os.path.samestat(now, status) and now.st_size == status.st_size


def _changing(entry: TarEntry) -> LayerError:
    return LayerError(
        f"{shown(entry.name)} changed while it was read",
        details="What has been written of the tar so far is of no use.",
        resolution="Pause or stop what writes to it (docker pause), and try again.",
    )


def _hiding(entry: TarEntry, path: bytes, name: bytes) -> TarEntry:
    """A whiteout device's entry, as Docker rewrites it; a hard link's target is left in it."""
    hidden = path[: len(path) - len(name)] + PREFIX + name
    return replace(entry, name=hidden, kind=tarheader.FILE, mode=0o600, size=0)


def _opaque(entry: TarEntry) -> TarEntry:
    """The mark that follows an opaque directory."""
    return TarEntry(
        name=entry.name + OPAQUE_MARK,
        kind=tarheader.FILE,
        mode=entry.mode & 0o777,
        uid=entry.uid,
        gid=entry.gid,
    )


def _portable(capability: bytes) -> bytes:
    """Without the root user of the namespace in which it was set (linux/capability.h)."""
    # The revision is the highest byte of a little-endian number; the third one appends an id.
    return capability[:3] + b"\2" + capability[4:20] if capability[3:4] == b"\3" else capability


def _whole(ns: int) -> int:
    return ns // _SECOND * _SECOND
