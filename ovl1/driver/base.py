"""The contract of a storage driver: Docker's graphdriver operations, by Docker's names.

A layer is a directory with a `LayerId`; it has at most one parent, which the caller names (a v1
image layer does not record it). Image layers are made by `create` and filled by `apply_diff` once;
a container's layer is made by `create_read_write`, mounted by `get` and written to. Semantics are
those of moby's daemon/graphdriver, better where this says so.

Each operation takes the layer's lock, which other processes respect as well; streams are produced
outside of it. What a call that failed has made is gone again, or recognisable as unfinished and
replaced by the next attempt. Layers of other drivers and leftovers are never touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Optional, Protocol, Tuple

from ovl1.layer.apply import Applied
from ovl1.model import Change, LayerId
from ovl1.store.layout import Layout


class Driver(Protocol):
    """What Docker asks of a storage driver. Not idempotent unless it says so."""

    @property
    def layout(self) -> Layout:
        """Where its layers lie; its ``driver`` is the driver's name."""

    def status(self) -> List[Tuple[str, str]]:
        """The lines of ``docker info``: ``Backing Filesystem``, ``Supports d_type``."""

    def metadata(self, layer_id: LayerId) -> Dict[str, str]:
        """The paths that ``docker inspect`` shows as ``GraphDriver.Data``.

        Raises:
            BrokenStore: there is no such layer.
        """

    def create(self, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        """Make an empty layer over `parent`, to be filled by `apply_diff` or through `get`.

        Raises:
            Refused: there is such a layer already; it is left as it is (Docker goes on with it).
            BrokenStore: there is no such parent.
        """

    def create_read_write(self, layer_id: LayerId, parent: Optional[LayerId]) -> None:
        """Make a container's layer; as `create`."""

    def remove(self, layer_id: LayerId) -> None:
        """Delete a layer; one that is not there is fine. What it has mounted is unmounted.

        The layer is renamed aside first, durably: it is there as a whole, or it is not there.

        Raises:
            Refused: something uses it; names the processes. Nothing was changed.
        """

    def get(self, layer_id: LayerId, mount_label: str = "") -> Path:
        """Where the layer's whole tree is to be seen; mounts it if need be, and counts.

        The path of a layer is always the same. A layer that is mounted already when it is first
        asked for (by a daemon that went on living, or by a process before this one) counts one.

        Raises:
            BrokenStore: there is no such layer, or it is not whole.
            NotPossibleHere: the kernel cannot mount it.
        """

    def put(self, layer_id: LayerId) -> None:
        """Undo one `get`; the last one unmounts, lazily as Docker does. Never one too many."""

    def exists(self, layer_id: LayerId) -> bool:
        """Whether there is such a layer."""

    def cleanup(self) -> None:
        """Unmount everything of this driver, and finish removals that were interrupted."""

    def apply_diff(self, layer_id: LayerId, parent: Optional[LayerId], tar: BinaryIO) -> Applied:
        """Fill a layer with the changes in a tar, which is read to its end.

        Args:
            tar: as it is, or compressed in one of the ways of `ovl1.formats.compressed`.

        Raises:
            Refused: the layer has been filled already.
            LayerError: the tar is damaged or hostile; the layer is as `create` made it.
        """

    def diff(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> Iterator[bytes]:
        """The layer's changes as an uncompressed tar; the same layer gives the same bytes.

        Args:
            parent: None for the whole tree.
            docker: find only the changes that Docker finds.
        """

    def changes(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> List[Change]:
        """What differs from the parent, sorted by path; arguments as for `diff`."""

    def diff_size(
        self, layer_id: LayerId, parent: Optional[LayerId], *, docker: bool = False
    ) -> int:
        """Bytes of the files that `changes` lists as added or modified, each inode once."""
