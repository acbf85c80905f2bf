"""An image's configuration, when some of its bottom layers have become one.

The steps that made them stay in its history, as ``docker build --squash`` leaves them: all but the
last one without a layer, because Docker counts (``docker history`` fails if there are more steps
with a layer than layers). Limit: what names the image by its digest in a registry no longer holds.
"""

from __future__ import annotations

import copy
from typing import Any, Dict

from ovl1.formats import gojson
from ovl1.model import DiffId


def renewed(config: Dict[str, Any], merged: int, base: DiffId) -> bytes:
    """The configuration of the image with `base` in place of its lowest layers.

    Args:
        config: the old one, of a readable image.
        merged: how many layers `base` takes the place of.
    """
    new = copy.deepcopy(config)
    rootfs = new["rootfs"]
    rootfs["diff_ids"] = [base, *rootfs["diff_ids"][merged:]]
    history = new.get("history")
    steps = (
        [step for step in history if isinstance(step, dict)] if isinstance(history, list) else []
    )
    making = [step for step in steps if step.get("empty_layer") is not True]
    for step in making[: merged - 1]:
        step["empty_layer"] = True
    return gojson.encoded(new)
