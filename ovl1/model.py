"""The vocabulary: Docker's names for the things in a store, each parsed once.

A value of these types has been checked, so that code further in can use it as part of a path or
of a digest without a second thought. The formats are those of Docker's ``layer`` and ``digest``
packages; BuildKit names its snapshots with 25 characters of base 36.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Callable, Optional, Tuple, Type, TypeVar

from ovl1.errors import BrokenStore

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
