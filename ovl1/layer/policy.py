"""What a layer's tar may do: how much it may unpack to, and whose ids it speaks of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, Iterator, NoReturn, Tuple

from ovl1.errors import LayerError
from ovl1.formats.tarheader import TarEntry
from ovl1.formats.whiteouts import shown
from ovl1.model import IdMaps

_NO_ID = 0xFFFFFFFF
"""Means "leave it as it is" to chown(2)."""


@dataclass(frozen=True)
class Policy:
    """Limits and rules for applying one layer.

    What overlay cannot represent is refused: character devices 0:0, which a mount takes for
    whiteouts, and attributes ``trusted.overlay.*``, with which an image could hide files, redirect
    directories to others, or break the mount. Docker unpacks both. ``user.overlay.*`` mean nothing
    to a mount without ``userxattr``, which Docker's are, and are kept as Docker keeps them.
    """

    max_bytes: int = 256 << 30
    """Most bytes of uncompressed tar, headers and what follows the end included."""
    max_entries: int = 20_000_000
    """Most entries."""
    id_maps: IdMaps = field(default_factory=IdMaps)
    """Which ids on the host the owners in the tar stand for."""

    def metered(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a tar on.

        Raises:
            LayerError: there are more than `max_bytes`.
        """
        left = self.max_bytes
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise LayerError(
                    f"the layer unpacks to more than {self.max_bytes} bytes",
                    details="That may be a decompression bomb.",
                    resolution="If the layer is to be trusted, raise max_bytes of its Policy.",
                )
            yield chunk

    def refuse_more_entries(self) -> NoReturn:
        """Raise the `LayerError` for a layer with more than `max_entries`."""
        raise LayerError(
            f"the layer has more than {self.max_entries} entries",
            details="Each takes an inode, of which a file system has only so many.",
            resolution="If the layer is to be trusted, raise max_entries of its Policy.",
        )

    def owner(self, entry: TarEntry) -> Tuple[int, int]:
        """User and group id on the host.

        Raises:
            LayerError: no user or group can have these ids, or the maps do not have them.
        """
        if not (0 <= entry.uid < _NO_ID and 0 <= entry.gid < _NO_ID):
            raise LayerError(
                f"{shown(entry.name)} has an owner that cannot be: {entry.uid}:{entry.gid}"
            )
        try:
            return self.id_maps.to_host(entry.uid, entry.gid)
        except LayerError as err:
            raise LayerError(
                f"{shown(entry.name)} belongs to {entry.uid}:{entry.gid}: {err.brief}",
                resolution=err.resolution,
            ) from err

    def whiteout_owner(self, entry: TarEntry) -> Tuple[int, int]:
        """User and group id on the host for a whiteout: root's where `owner` would raise.

        In a complete tree whiteouts leave nothing, so that nobody has ever minded their owners.
        """
        try:
            return self.owner(entry)
        except LayerError:
            return self.id_maps.root_pair
