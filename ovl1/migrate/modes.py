"""The ways to migrate: each is a list of steps, so that one engine runs and undoes them all."""

from __future__ import annotations

from typing import Callable, Dict, List

from ovl1.errors import BrokenStore
from ovl1.migrate import beside, elsewhere, there
from ovl1.migrate.plan import ELSEWHERE, IN_PLACE, SIDE_BY_SIDE, Plan
from ovl1.migrate.steps import Step
from ovl1.model import Progress, no_progress

_MODES: Dict[str, Callable[[Plan, Progress], List[Step]]] = {
    SIDE_BY_SIDE: beside.steps,
    ELSEWHERE: elsewhere.steps,
    IN_PLACE: there.steps,
}


def steps_of(plan: Plan, progress: Progress = no_progress) -> List[Step]:
    """What `plan` does, in order; the long ones tell `progress`.

    Raises:
        BrokenStore: its mode is none that this version knows.
    """
    mode = _MODES.get(plan.mode)
    if mode is None:
        raise BrokenStore(
            f"the migration's mode is unknown: {plan.mode}",
            resolution="Use the version of ovl1 that began it.",
        )
    return mode(plan, progress)
