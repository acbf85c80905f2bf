"""Whatever a container has done, its changes applied to its image give the container again."""

from __future__ import annotations

from typing import Dict, List

import pytest
from hypothesis import HealthCheck, given, settings

from ovl1.formats.tarstream import as_file
from tests.conformance.world import World
from tests.support.trees import Change, Seen, change, changes, furnish

_SECOND = 10**9


def in_a_tar(seen: Dict[bytes, Seen]) -> Dict[bytes, Seen]:
    """What Docker keeps: whole seconds since 1970, hard links among what is in the tar.

    And of attributes those with a value. The root itself is the driver's.
    """
    return {
        path: entry._replace(
            mtime_ns=max(entry.mtime_ns // _SECOND, 0),
            same_as=b"",
            xattrs=tuple(pair for pair in entry.xattrs if pair[1]),
        )
        for path, entry in seen.items()
        if path != b"."
    }


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
@given(todo=changes)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_commit_is_the_container(world: World, todo: List[Change]) -> None:
    base = world.empty()
    with world.at(base) as root:
        furnish(root)
    container = world.container(base)
    before = world.shown(base)
    with world.at(container) as root:
        change(root, todo)
    made = world.shown(container)
    copy = world.empty(base)
    world.driver.apply_diff(copy, base, as_file(world.driver.diff(container, base)))
    assert in_a_tar(world.shown(copy)) == in_a_tar(made)
    assert world.shown(base) == before
    for layer in (copy, container, base):
        world.driver.remove(layer)
