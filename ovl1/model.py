"""The vocabulary: Docker's names for the things in a store, each parsed once.

A value of these types has been checked, so that code further in can use it as part of a path or
of a digest without a second thought. The formats are those of Docker's ``layer`` and ``digest``
packages; BuildKit names its snapshots with 25 characters of base 36.
"""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional, Tuple, Type, TypeVar

from ovl1.errors import BrokenStore, LayerError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LAYER_ID = re.compile(r"([0-9a-f]{64}|[0-9a-z]{25})(-init)?")
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")

D = TypeVar("D", bound="Digest")


class Digest(str):
    """``sha256:`` and 64 hexadecimal digits."""

    @classmethod
    def parse(cls: Type[D], text: str, where: str = "") -> D:
        """Check `text` (surrounding white space is dropped, as Docker does).

        Raises:
            BrokenStore: it is not a digest; `where` says in which file.
        """
        text = text.strip()
        if not _DIGEST.fullmatch(text):
            raise BrokenStore(f"{text[:100]!r} is not a sha256 digest", details=where)
        return cls(text)

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether `text` is a digest, as it stands."""
        return _DIGEST.fullmatch(text) is not None

    @property
    def hex(self) -> str:
        """The 64 digits, as Docker names files with them."""
        return self[len("sha256:") :]

    @property
    def short(self) -> str:
        """The first 12 digits, as Docker prints them."""
        return self.hex[:12]


class DiffId(Digest):
    """SHA-256 of a layer's uncompressed tar."""


class ImageId(Digest):
    """SHA-256 of an image's configuration file."""


class ChainId(Digest):
    """Name of a layer together with all that is below it."""

    @classmethod
    def of(cls, parent: Optional[ChainId], diff_id: DiffId) -> ChainId:
        """The chain id of `diff_id` on `parent` (OCI image specification, "Layer ChainID")."""
        if parent is None:
            return cls(diff_id)
        return cls("sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest())


class LayerId(str):
    """The driver's name of a layer: its directory below ``overlay/``.

    For image layers Docker calls it cache-id, for containers mount-id and init-id.
    """

    @classmethod
    def parse(cls, text: str, where: str = "") -> LayerId:
        """Check `text`: 64 hex digits (Docker) or 25 of base 36 (BuildKit), maybe ``-init``.

        Raises:
            BrokenStore: it is no such id, and so must never become part of a path.
        """
        text = text.strip()
        if not _LAYER_ID.fullmatch(text):
            raise BrokenStore(
                f"{text[:100]!r} is not a layer id",
                details=where,
                resolution="Restore the file from a backup, or remove the image or container "
                "it belongs to.",
            )
        return cls(text)

    @property
    def short(self) -> str:
        """The id cut to 12 characters, ``-init`` kept."""
        return self[:12] + ("-init" if self.endswith("-init") else "")


class ContainerId(str):
    """64 hexadecimal digits."""

    @classmethod
    def parse(cls, text: str, where: str = "") -> ContainerId:
        """Check `text`.

        Raises:
            BrokenStore: it is no container id.
        """
        if not _CONTAINER_ID.fullmatch(text):
            raise BrokenStore(f"{text[:100]!r} is not a container id", details=where)
        return cls(text)


class ChangeKind(enum.IntEnum):
    """What happened to a path between a layer and its parent; the numbers are Docker's."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2

    @property
    def letter(self) -> str:
        """As ``docker diff`` prints it."""
        return "CAD"[self]


class Change(NamedTuple):
    """One line of ``docker diff``."""

    path: bytes
    """From the layer's root, with a slash before it."""
    kind: ChangeKind


class IdRange(NamedTuple):
    """A run of user or group ids of a container, and where it lies on the host."""

    container: int
    host: int
    size: int


@dataclass(frozen=True)
class IdMaps:
    """Which ids on the host stand for a container's own (``--userns-remap``); empty: the same."""

    uids: Tuple[IdRange, ...] = ()
    gids: Tuple[IdRange, ...] = ()

    def to_host(self, uid: int, gid: int) -> Tuple[int, int]:
        """User and group id on the host.

        Raises:
            LayerError: the maps do not have it.
        """
        return _mapped(uid, self.uids, 0), _mapped(gid, self.gids, 0)

    def to_container(self, uid: int, gid: int) -> Tuple[int, int]:
        """User and group id as the container sees them.

        Raises:
            LayerError: the maps do not have it.
        """
        return _mapped(uid, self.uids, 1), _mapped(gid, self.gids, 1)

    @property
    def root_pair(self) -> Tuple[int, int]:
        """What the container's root is on the host."""
        return self.to_host(0, 0)


def _mapped(number: int, ranges: Tuple[IdRange, ...], side: int) -> int:
    if not ranges:
        return number
    for found in ranges:
        offset = number - found[side]
        if 0 <= offset < found.size:
            return found[1 - side] + offset
    raise LayerError(
        f"id {number} is outside the user namespace's map",
        resolution="Widen the range in /etc/subuid and /etc/subgid.",
    )


@dataclass(frozen=True)
class Mount:
    """A mount as data: whoever holds it decides whether, and where, to mount it."""

    fstype: str
    source: str
    options: Tuple[str, ...] = ()


Progress = Callable[[str, int, int], None]
"""Told about long work: the phase in words, how much of it is done, and of how much."""


def no_progress(phase: str, done: int, total: int) -> None:
    """A `Progress` for when nobody watches."""
