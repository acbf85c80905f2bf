"""What applying layers comes to, said as plainly as can be: a mapping of paths to inodes.

Knows directories, files, symbolic links, fifos, hard links and whiteouts; names lead over symbolic
links as in a chroot. Nothing of the code under test is used.
"""

from __future__ import annotations

import tarfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from tests.support.layers import Made, entry
from tests.support.trees import Seen

Path = Tuple[str, ...]

_KINDS = {
    "file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE, "hard": tarfile.LNKTYPE,
}  # fmt: skip
_FORMATS = {"file": 0o100000, "dir": 0o40000, "link": 0o120000, "fifo": 0o10000}
_MOST_LINKS = 40


class Item(NamedTuple):
    """One entry of a tar."""

    act: str
    path: Path
    other: Path
    """The target of a link."""
    number: int
    """Varies mode, owner, time, attributes and content."""

    @property
    def mode(self) -> int:
        return (0o644, 0o4755, 0o700, 0o1777)[self.number]

    @property
    def mtime(self) -> int:
        """Seconds."""
        return 10**9 + self.number

    @property
    def xattrs(self) -> Dict[str, bytes]:
        return {f"trusted.x{self.number}": b"v"} if self.number > 1 else {}

    @property
    def data(self) -> bytes:
        return "/".join(self.path).encode() * self.number

    def made(self) -> Made:
        """For `tests.support.layers.make_tar`."""
        path = "/".join(self.path)
        if self.act == "whiteout":
            return entry("/".join((*self.path[:-1], f".wh.{self.path[-1]}")))
        if self.act == "opaque":
            return entry("/".join((*self.path, ".wh..wh..opq")))
        fields: Dict[str, Any] = {
            "mode": self.mode,
            "uid": self.number,
            "gid": 5,
            "mtime": self.mtime,
            "pax_headers": {f"SCHILY.xattr.{key}": "v" for key in self.xattrs},
        }
        if self.act == "file":
            fields["data"] = self.data
        elif self.act in ("hard", "link"):
            fields["linkname"] = "/".join(self.other)
        return entry(path or "./", _KINDS[self.act], **fields)


class Inode:
    """What a name of the model stands for; the same object is the same inode."""

    def __init__(self, kind: str, data: bytes = b"") -> None:
        self.kind, self.data = kind, data
        self.mode, self.owner, self.mtime = 0o755, (0, 0), 0
        self.xattrs: Dict[str, bytes] = {}

    def copy(self) -> Inode:
        made = Inode(self.kind, self.data)
        made.mode, made.owner, made.mtime = self.mode, self.owner, self.mtime
        made.xattrs = dict(self.xattrs)
        return made

    def dress(self, item: Item) -> None:
        self.owner = (item.number, 5)
        if self.kind == "dir":
            self.xattrs = {}
        self.xattrs.update(item.xattrs)
        if self.kind != "link":
            self.mode = item.mode
        if self.kind != "link" or item.act == "link":
            self.mtime = item.mtime

    def is_dressed(self, item: Item) -> bool:
        wanted = self.copy()
        wanted.dress(item)
        return vars(wanted) == vars(self)


class Model:
    """A tree, and Docker's rules for what a layer changes in it."""

    def __init__(self, parent: Optional[Model] = None) -> None:
        self.names: Dict[Path, Inode] = {(): Inode("dir")}
        if parent is not None:
            self.names = {
                path: inode.copy() if inode.kind == "dir" else inode
                for path, inode in parent.names.items()
            }
        # The objects as well: the id of one that is gone would come back.
        self.inherited = {id(inode): inode for inode in self.names.values()}
        self.unpacked: Set[Path] = set()
        self.listed: Set[Path] = set()
        """Directories that have an entry, and so times that can be told."""

    def apply(self, items: Sequence[Item], *, overlay: bool = False) -> List[Item]:
        """Apply those of `items` that are possible, and return them.

        Args:
            overlay: only those that come to the same in an overlay directory.
        """
        done = []
        for item in items:
            differs = overlay and (self.leads_over(item) or self.parts(item))
            if self.allows(item) and not differs:
                getattr(self, f"_{item.act}", self._other)(item, self.place(item.path) or ())
                done.append(item)
        return done

    def allows(self, item: Item) -> bool:
        place = self.place(item.path)
        if place is None:
            return False
        if item.act == "hard":
            other = self.place(item.other, imply=False)
            found = None if other is None else self.names.get(other)
            if other is None or found is None or found.kind == "dir":
                return False
            return other[: len(place)] != place
        there = self.names.get(place)
        return item.act != "opaque" or there is None or there.kind in ("dir", "link")

    def leads_over(self, item: Item) -> bool:
        """Whether a name of the entry leads over a symbolic link of a layer below."""
        over: List[Inode] = []
        self.place(item.path, over=over)
        if item.act == "hard":
            self.place(item.other, imply=False, over=over)
        if item.act == "opaque":
            self.place((*item.path, "x"), over=over)
        return any(id(inode) in self.inherited for inode in over)

    def parts(self, item: Item) -> bool:
        """Whether names part that this layer has linked to an inherited file: a complete tree
        copies the file for the target and the new name, in an overlay directory they all are
        names of a copy already."""
        target = self.names.get(self.place(item.other, imply=False) or ())
        if item.act != "hard" or target is None or target.is_dressed(item):
            return False
        return id(target) in self.inherited and any(
            self.names[path] is target for path in self.unpacked
        )

    def place(
        self, path: Path, *, imply: bool = True, over: Optional[List[Inode]] = None
    ) -> Optional[Path]:
        """Where a path leads, its last component not followed; None: nowhere.

        Args:
            imply: what is missing of it, but for what a link says, is as good as there.
            over: gets the links on the way.
        """
        at: Path = ()
        links = 0
        pending = [(part, imply) for part in reversed(path[:-1])]
        while pending:
            part, may_miss = pending.pop()
            if part in ("", ".", ".."):
                at = at[:-1] if part == ".." else at
                continue
            found = self.names.get((*at, part))
            if (found is None and may_miss) or (found is not None and found.kind == "dir"):
                at = (*at, part)
                continue
            links += 1
            if found is None or found.kind != "link" or links > _MOST_LINKS:
                return None
            if over is not None:
                over.append(found)
            target = found.data.decode()
            at = () if target.startswith("/") else at
            pending += [(each, False) for each in reversed(target.split("/"))]
        return (*at, *path[-1:])

    def _whiteout(self, item: Item, place: Path) -> None:
        self._imply(place[:-1])
        self._remove(place)

    def _opaque(self, item: Item, place: Path) -> None:
        self._imply(place[:-1])
        if place in self.names and self.names[place].kind == "link":
            return
        self._imply(place)
        for path in sorted(self.names):
            below = path[: len(place)] == place and path != place
            if below and path in self.names and path not in self.unpacked:
                self._remove(path)

    def _dir(self, item: Item, place: Path) -> None:
        self._imply(place[:-1])
        if self.names.get(place, Inode("none")).kind != "dir":
            self._remove(place)
            self.names[place] = Inode("dir")
        self.names[place].dress(item)
        self.unpacked.add(place)
        self.listed.add(place)

    def _other(self, item: Item, place: Path) -> None:
        self._imply(place[:-1])
        self._remove(place)
        data = {"file": item.data, "link": "/".join(item.other).encode()}.get(item.act, b"")
        made = self.names[place] = Inode(item.act, data)
        if item.act == "link":
            made.mode = 0o777
        made.dress(item)
        self.unpacked.add(place)

    def _hard(self, item: Item, place: Path) -> None:
        other = self.place(item.other, imply=False) or ()
        target = self.names[other]
        self._imply(place[:-1])
        self._remove(place)
        if id(target) in self.inherited and not target.is_dressed(item):
            target = self.names[other] = target.copy()
        if id(target) not in self.inherited:
            target.dress(item)
        self.names[place] = target
        self.unpacked.add(place)

    def _imply(self, path: Path) -> None:
        for length in range(len(path) + 1):
            self.names.setdefault(path[:length], Inode("dir"))

    def _remove(self, path: Path) -> None:
        for name in [name for name in self.names if name[: len(path)] == path]:
            del self.names[name]
            self.unpacked.discard(name)
            self.listed.discard(name)

    def shown(self) -> Dict[bytes, Seen]:
        """As `tests.support.trees.shown` would see it."""
        first: Dict[int, Path] = {}
        for path in sorted(self.names):
            first.setdefault(id(self.names[path]), path)
        return {
            as_bytes(path): Seen(
                mode=_FORMATS[inode.kind] | inode.mode,
                owner=inode.owner,
                device=0,
                mtime_ns=inode.mtime * 10**9,
                content=inode.data,
                xattrs=tuple(sorted(inode.xattrs.items())),
                same_as=as_bytes(first[id(inode)]),
            )
            for path, inode in self.names.items()
        }


def as_bytes(path: Path) -> bytes:
    return "/".join(path).encode() or b"."
