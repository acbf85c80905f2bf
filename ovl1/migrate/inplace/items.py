"""The vocabulary of a record: what becomes of a layer, and of each of its names.

Directories are nested from `Enter` or `Gone` to `Leave`; the others stand in the directory that was
begun last. All names are single components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Tuple, Union

from ovl1.linux.xattrs import Xattrs
from ovl1.model import LayerId
from ovl1.store.layout import ROOT


@dataclass(frozen=True)
class Header:
    """What the layer was and what it becomes, its content apart."""

    layer_id: LayerId
    tree: str
    """The name of its tree: ``root``, or ``upper`` over the parent's."""
    below: Tuple[Tuple[LayerId, str], ...]
    """The parent's view: layers and the names of their trees, topmost first; none for a base."""
    lowers: Tuple[LayerId, ...]
    """All layers below, nearest first, as overlay2 names them."""
    has_children: bool
    had_work: bool
    """Whether there was a ``work`` directory already."""
    times_ns: Tuple[int, int]
    """Access and modification time of the layer's own directory."""
    digest: str = ""
    """What its view showed; see `ovl1.migrate.inplace.digest`. Empty if none was taken."""

    @property
    def is_complete(self) -> bool:
        """Whether the tree holds all that its view shows, the parent's inodes included."""
        return self.tree == ROOT


class Metadata(NamedTuple):
    """All that an inode has beside its content."""

    mode: int
    """Type and permissions."""
    uid: int
    gid: int
    times_ns: Tuple[int, int]
    xattrs: Xattrs


class Enter(NamedTuple):
    """A directory that stays; everything in it that is not mentioned goes."""

    name: bytes
    """Empty for the tree itself."""
    opaque: bool
    """It must hide the parent's."""
    merges: bool
    """The parent has it, too: what goes without being mentioned is there."""
    private: Xattrs
    """Overlayfs' own attributes that it had."""
    times_ns: Tuple[int, int]


class Gone(NamedTuple):
    """A directory that goes, and must get these metadata when it comes back.

    In a complete tree all that is not mentioned in it is as in the parent's.
    """

    name: bytes
    metadata: Metadata


class Leave(NamedTuple):
    """The end of what is said about a directory."""


class Keep(NamedTuple):
    """Something else than a directory that stays."""

    name: bytes


class Whiteout(NamedTuple):
    """A name to be hidden with a device 0:0 that is not there yet."""

    name: bytes


class Separate(NamedTuple):
    """It goes, and is the same as the parent's, but was an inode of its own."""

    name: bytes
    inode: int
    """Of a file that is not empty; 0 for others."""
    private: Xattrs


class Hidden(NamedTuple):
    """A device 0:0 that goes because it hides nothing that its parent shows."""

    name: bytes
    inode: int
    """The kernel lets many of them share one."""
    metadata: Metadata


class Skip(NamedTuple):
    """A name that the parent's tree has and this one had not, and which nothing shows."""

    name: bytes


Item = Union[Enter, Gone, Leave, Keep, Whiteout, Separate, Hidden, Skip]
