"""The old store as the steps of a migration read it."""

from __future__ import annotations

from functools import cached_property
from typing import Optional, Tuple

from ovl1.driver.convert import Conversion, conversions
from ovl1.errors import HalfDone
from ovl1.migrate.plan import Plan
from ovl1.migrate.squash import made
from ovl1.migrate.squash.renewed import Renewed, renewed
from ovl1.store.store import Store
from ovl1.store.whole import Whole, whole_part


class Source:
    """Reads the store when a step first asks for it: not before it is where it stays."""

    def __init__(self, plan: Plan) -> None:
        self.area = plan.area
        self._plan = plan

    @cached_property
    def found(self) -> Whole:
        """What is whole of the old store, and what is not."""
        return whole_part(Store.of(self.area.origin))

    @cached_property
    def renewed(self) -> Optional[Renewed]:
        """What becomes of it when its deep images are squashed; None if they are not.

        To be asked for only when the layers that take the place of others have been hashed.
        """
        if not self._plan.squash:
            return None
        area = self.area
        return renewed(self.found, made.known(area.data_root, area.squashed))

    @property
    def whole(self) -> Whole:
        """What is converted: `found`, or what becomes of it."""
        return self.renewed.whole if self.renewed else self.found

    @property
    def store(self) -> Store:
        """The old store, without what is broken; as if its deep images had been squashed."""
        return self.whole.store

    @cached_property
    def conversions(self) -> Tuple[Conversion, ...]:
        """What each layer becomes, in the order of the plan.

        Raises:
            HalfDone: the store is no longer the one that was planned for.
        """
        found = tuple(conversions(self.store, dict(self._plan.orphans)))
        if tuple(conversion.layer_id for conversion in found) != self._plan.layers:
            raise HalfDone(
                "the store has changed since its migration was planned",
                resolution="Run `ovl1 migrate rollback`, then begin again.",
            )
        return found
