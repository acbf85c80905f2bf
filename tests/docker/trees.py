"""Directory trees as values: for "nothing has changed" and for "the same as Docker makes it"."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import IO, Counter, Dict, FrozenSet, Iterator, Mapping, NamedTuple, Tuple

# Hints that the kernel leaves for itself; none changes what the layer shows.
_KERNEL_HINTS = {f"trusted.overlay.{name}" for name in ("origin", "impure", "uuid")}
_OPAQUE = "trusted.overlay.opaque"
SECOND = 10**9

Manifest = Dict[bytes, Tuple[object, ...]]


class Node(NamedTuple):
    """One entry of a tree, as far as an image can say it."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime: int
    xattrs: dict[str, bytes]
    device: int
    target: bytes
    content: str
    links: frozenset[bytes]
    """All names of its inode in this tree."""

    @property
    def is_whiteout(self) -> bool:
        return self.kind == stat.S_IFCHR and self.device == 0


class Layer(NamedTuple):
    """A layer of an overlay2 store."""

    diff_id: str
    parent: str
    cache_id: str
    nodes: Dict[bytes, Node]


class Listed(NamedTuple):
    """What the tar of a layer lists."""

    names: FrozenSet[bytes]
    whiteouts: FrozenSet[bytes]


def manifest(root: Path) -> Manifest:
    """Everything that ``lstat``, ``llistxattr`` and a read tell about each path, but atime."""
    seen: Manifest = {}
    for path, status in walk(root):
        status_fields = ("mode", "ino", "nlink", "uid", "gid", "size", "mtime_ns", "rdev")
        seen[path] = (
            *((name, getattr(status, f"st_{name}")) for name in status_fields),
            *_payload(os.path.join(os.fsencode(root), path), status),
        )
    return seen


def changed(before: Manifest, after: Manifest) -> Iterator[str]:
    """The differences between two manifests."""
    for path in sorted({*before, *after}):
        old, new = set(map(str, before.get(path, ()))), set(map(str, after.get(path, ())))
        if old != new:
            yield f"{path!r}: {sorted(old - new)} became {sorted(new - old)}"


def nodes(root: Path) -> dict[bytes, Node]:
    """The tree below `root`; the root itself has an empty name."""
    inodes = collections.defaultdict(set)
    for path, status in walk(root):
        if not stat.S_ISDIR(status.st_mode):
            inodes[status.st_ino].add(path)
    found = {}
    for path, status in walk(root):
        xattrs, target, content = _payload(os.path.join(os.fsencode(root), path), status)
        found[path] = Node(
            kind=stat.S_IFMT(status.st_mode),
            mode=stat.S_IMODE(status.st_mode),
            owner=(status.st_uid, status.st_gid),
            mtime=status.st_mtime_ns,
            xattrs={name: value for name, value in xattrs.items() if name not in _KERNEL_HINTS},
            device=status.st_rdev,
            target=target,
            content=content,
            links=frozenset(inodes[status.st_ino]),
        )
    return found


class Comparison(NamedTuple):
    """A layer of ours, and what ``docker load`` made of the same tar."""

    ours: Dict[bytes, Node]
    dockers: Dict[bytes, Node]
    listed: Listed
    shown: Dict[bytes, Node]
    """The same layer's whole tree in the old store."""
    below: Mapping[bytes, Node]
    """What the layers below, as Docker made them, have at a path; the topmost one's."""
    under_root_entry: bool
    """The tar, or that of a lower layer, lists the root directory."""

    def unexplained(self, excused: Counter[str]) -> Iterator[str]:
        """Differences that are no known inaccuracy of Docker; `excused` counts those that are."""
        excused["entries compared"] += len(self.dockers)
        for path in sorted({*self.ours, *self.dockers}):
            for field, reason in self._differences(path):
                if reason:
                    excused[reason] += 1
                else:
                    ours, its = self.ours.get(path), self.dockers.get(path)
                    yield f"{path!r}: {field} differs: {ours} where Docker makes {its}"

    def _differences(self, path: bytes) -> Iterator[tuple[str, str]]:
        """Each field that differs, with the excuse, or an empty one."""
        ours, its = self.ours.get(path), self.dockers.get(path)
        if ours is not None and its is not None:
            for field, mine, docker in zip(Node._fields, ours, its):
                if mine != docker:
                    yield field, self._excuse(path, field, ours, its)
        else:
            yield "existence", self._excuse_extra(path, ours)

    def _excuse(self, path: bytes, field: str, ours: Node, its: Node) -> str:
        if field == "mtime" and ours.is_whiteout and its.is_whiteout:
            return "time of a whiteout"
        if field == "links" and ours.is_whiteout and its.is_whiteout:
            return "whiteouts that share an inode, as the kernel's do"
        if not path and field == "mtime":
            return "time of the top directory"
        if not path and field in ("mode", "owner") and self.under_root_entry:
            return "top directory: Docker ignores the tar's entry for it"
        if field == "mtime" and its.mtime == ours.mtime // SECOND * SECOND and self._is_shown(path):
            return "fraction of a second, which BuildKit has on disk but not in its tars"
        if ours.kind != stat.S_IFDIR or not path:
            return ""
        if field in ("mode", "owner", "mtime") and path not in self.listed.names:
            return "parent directory that the tar does not list"
        made_opaque = {**its.xattrs, _OPAQUE: b"y"} == ours.xattrs
        if made_opaque and path in self.listed.names & self.listed.whiteouts:
            return "whited out and made again: Docker forgets to make it opaque"
        return ""

    def _excuse_extra(self, path: bytes, ours: Node | None) -> str:
        """Why we have an entry that Docker has not: the old driver lost what the tars say."""
        if ours is None or path in self.listed.names or not self._is_shown(path):
            return ""
        lower = self.below[path]
        if ours.kind == stat.S_IFLNK and len(lower.links) > 1:
            return "link that the old driver had taken apart"
        if ours.kind == stat.S_IFDIR and lower.xattrs != ours.xattrs:
            return "directory whose attributes the old driver had lost"
        if ours.kind == stat.S_IFDIR and lower.mtime != ours.mtime:
            return "directory that BuildKit touched and its tar does not list"
        if any(other.startswith(path + b"/") for other in self.ours):
            return "parent directory of such a one"
        return ""

    def _is_shown(self, path: bytes) -> bool:
        """The old store shows at `path` what we have made there."""
        return path in self.shown and self.ours[path][:-1] == self.shown[path][:-1]


def layers(data_root: Path) -> dict[str, Layer]:
    """The layers of an overlay2 store, by chain id."""
    found = {}
    for entry in (data_root / "image/overlay2/layerdb/sha256").iterdir():
        cache_id = (entry / "cache-id").read_text()
        parent = entry / "parent"
        found[f"sha256:{entry.name}"] = Layer(
            (entry / "diff").read_text(),
            parent.read_text() if parent.exists() else "",
            cache_id,
            nodes(data_root / "overlay2" / cache_id / "diff"),
        )
    return found


def listed_by_layers(archive: IO[bytes]) -> dict[str, Listed]:
    """Diff id -> what its tar lists, for the layers in a ``docker save`` archive."""
    found: Dict[str, Listed] = {}
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None and member.name.endswith("/layer.tar"):
                layer = content.read()
                found["sha256:" + hashlib.sha256(layer).hexdigest()] = _listed(layer)
    return found


def walk(root: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Each path below `root`, relative to it, with its ``lstat``; first the root, as empty."""
    base = os.fsencode(root)
    yield b"", os.lstat(base)
    todo = [b""]
    while todo:
        directory = todo.pop()
        for name in sorted(os.listdir(os.path.join(base, directory))):
            path = os.path.join(directory, name)
            status = os.lstat(os.path.join(base, path))
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                todo.append(path)


def _payload(path: bytes, status: os.stat_result) -> tuple[dict[str, bytes], bytes, str]:
    """Extended attributes, link target, SHA-256 of the content."""
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
    digest = hashlib.sha256()
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                digest.update(chunk)
    return xattrs, target, digest.hexdigest()


def _listed(layer: bytes) -> Listed:
    names, whiteouts = set(), set()
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            path = os.path.normpath(os.fsencode(member.name))
            directory, base = os.path.split(path)
            if base.startswith(b".wh."):
                whiteouts.add(os.path.join(directory, base[len(b".wh.") :]))
            else:
                names.add(b"" if path == b"." else path)
    return Listed(frozenset(names), frozenset(whiteouts))
