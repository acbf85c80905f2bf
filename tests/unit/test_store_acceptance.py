"""What each engine wants daemon.json to say, before it uses an overlay2 store."""

from __future__ import annotations

from typing import Any, Dict, List, Set

import pytest

from ovl1.errors import WrongUsage
from ovl1.store.acceptance import RELEASES, acceptance

OVERLAY2 = {"storage-driver": "overlay2"}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("config", [{}, OVERLAY2, {"storage-driver": ""}, {"debug": True}])
def test_nothing_is_to_be_changed(release: str, config: Dict[str, Any]) -> None:
    found = acceptance(release, ["overlay2", "vfs"], config)
    assert found.accepts
    assert found.change == {}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("driver", ["overlay", "aufs", "overlayfs"])
def test_another_driver_is_configured(release: str, driver: str) -> None:
    found = acceptance(release, ["overlay2"], {"storage-driver": driver})
    assert found.accepts
    assert found.change == OVERLAY2


@pytest.mark.parametrize(
    ("other", "those_that_know_it"),
    [
        ("aufs", {"19.03", "20.10", "23.0"}),
        ("devicemapper", {"19.03", "20.10", "23.0", "24"}),
        ("btrfs", set(RELEASES)),
        ("overlay", {"19.03", "20.10", "23.0"}),
    ],
)
def test_with_another_drivers_store_it_must_be_told(
    other: str, those_that_know_it: Set[str]
) -> None:
    for release in RELEASES:
        found = acceptance(release, [other, "overlay2"], {})
        assert (found.change == OVERLAY2) == (release in those_that_know_it), release
        assert acceptance(release, [other, "overlay2"], OVERLAY2).change == {}


@pytest.mark.parametrize(
    ("config", "those_that_refuse"),
    [
        ({"features": {"containerd-snapshotter": True}}, ["24", "25", "26", "27", "28", "29"]),
        ({"features": {"containerd-snapshotter": False}}, []),
        ({"features": {"containerd-migration": True}}, ["29"]),
        ({"features": ["odd"]}, []),
        ({"storage-opts": ["overlay2.size=1G"]}, []),
        ({"storage-opts": ["dm.basesize=1G"]}, list(RELEASES)),
        ({"graph": "/srv/docker"}, ["23.0", "24", "25", "26", "27", "28", "29"]),
    ],
    ids=str,
)
def test_what_no_change_of_the_driver_mends(
    config: Dict[str, Any], those_that_refuse: List[str]
) -> None:
    refusing = [name for name in RELEASES if not acceptance(name, ["overlay2"], config).accepts]
    assert refusing == those_that_refuse


def test_29_keeps_overlay2_only_because_it_is_there() -> None:
    (remark,) = acceptance("29", ["overlay2"], {}).remarks
    assert "containerd image store" in remark
    assert acceptance("28", ["overlay2"], {}).remarks == ()


def test_a_new_data_root_must_be_named() -> None:
    for config, change in (
        ({}, {"data-root": "/new"}),
        ({"data-root": "/old"}, {"data-root": "/new"}),
        ({"graph": "/old"}, {"graph": "/new"}),
        ({"data-root": "/new"}, {}),
    ):
        assert acceptance("20.10", ["overlay2"], config, "/new").change == change


def test_of_others_nothing_is_known() -> None:
    with pytest.raises(WrongUsage, match="no engine"):
        acceptance("30", ["overlay2"], {})
