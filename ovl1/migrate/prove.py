"""The step that proves a new store before Docker may see it."""

from __future__ import annotations

from dataclasses import dataclass

from ovl1.errors import CheckFailed, listed
from ovl1.migrate import certificate
from ovl1.migrate.plan import Plan
from ovl1.migrate.source import Source
from ovl1.migrate.steps import Result
from ovl1.migrate.verify import verify_stores
from ovl1.model import Progress
from ovl1.store.store import Store


@dataclass(frozen=True)
class Prove:
    """See `ovl1.migrate.verify`; leaves a certificate."""

    source: Source
    plan: Plan
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        short = ", but for the contents" if self.plan.quick else ""
        return f"prove that the new layers show what the old ones do{short}"

    def do(self) -> Result:
        """See `Step`.

        Raises:
            CheckFailed: they do not.
        """
        area, layers = self.plan.area, self.source.conversions
        found = verify_stores(
            self.source.store,
            Store.of(area.staged),
            layers,
            keep_directory_times=self.plan.keep_directory_times,
            quick=self.plan.quick,
            progress=self.progress,
        )
        if not found.passed:
            raise CheckFailed(
                "the new layers do not show what the old ones do",
                details=listed(found.differences),
                resolution="This is a fault of ovl1: please report it with these lines.",
            )
        renewed = self.source.renewed
        told = renewed.told() if renewed else None
        return {"proof": certificate.write(area.certificate, area.data_root, layers, found, told)}

    def undo(self) -> None:
        """See `Step`."""
        self.plan.area.certificate.unlink(missing_ok=True)
