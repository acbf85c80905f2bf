"""A complete tree as what a tar is unpacked to: a v1 layer's ``root``."""

from __future__ import annotations

from typing import Optional, Tuple

from ovl1.layer.apply_tree import NO_DIRECTORY, Tree, link_target
from ovl1.tree.remove import remove_tree


class CompleteTree(Tree):
    """What the layers below have is in the tree already; removing it is all it takes to hide it."""

    def vacate(self, name: bytes) -> None:
        """See `Tree.vacate`."""
        remove_tree(self.here, name)

    def white_out(self, name: bytes, owner: Tuple[int, int]) -> None:  # noqa: ARG002 - no mark
        """See `Tree.white_out`."""
        remove_tree(self.here, name)

    def bring(self, name: bytes) -> None:
        """See `Tree.bring`."""

    def _enter(self, name: bytes, *, imply: bool) -> Optional[bytes]:
        try:
            self._down(name)
        except FileNotFoundError:
            if not imply:
                raise
            self._imply(name)
        except OSError as err:
            if err.errno not in NO_DIRECTORY:
                raise
            return link_target(self.here, name)
        return None

    def _make(self, name: bytes) -> None:
        try:
            self.here.mkdir(name)
        except FileExistsError:
            try:
                self._down(name)
                return
            except OSError as err:
                if err.errno not in NO_DIRECTORY:
                    raise
            self.here.unlink(name)
            self.here.mkdir(name)
        self._down(name)
