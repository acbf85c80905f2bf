"""Layers that a daemon has lost are taken along; it minds them neither before nor after."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Dict

import pytest

from ovl1.model import LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.store import Store
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.support.image_cli import Ovl1
from tests.support.newer_kernels import Shown
from tests.support.stores_shown import shown_by_overlay, shown_by_overlay2

pytestmark = [pytest.mark.needs("root", "dockerd", "docker", "busybox"), pytest.mark.timeout(300)]

STEPS = (
    f"FROM {nasty.BASE}\n"
    "RUN mkdir /d && echo 1 > /d/f && ln /d/f /d/g && ln -s d /l\n"
    "RUN rm /d/f && echo 2 > /d/h\n"
    "RUN echo 3 > /d/i && chmod 700 /bin/busybox\n"
)


@pytest.mark.parametrize("mode", [(), ("--in-place",)], ids=["side by side", "in place"])
def test_a_daemon_minds_no_orphans(
    disk: Path, work: Path, mode: tuple[str, ...], full: bool
) -> None:
    if not full:
        pytest.skip("in the long form")
    root = disk / "docker"
    with Daemon(root, OVERLAY, work / "daemon") as daemon:
        daemon.docker("import", "-", nasty.BASE, stdin=nasty.base())
        daemon.build("lost:1", STEPS)
    parents = lose(Store.open(root, OVERLAY), "lost:1")
    before = shown_by_overlay(root, disk / "at")
    saved = runs(root, OVERLAY, work)
    ovl1 = Ovl1(root, OVERLAY, work / "run")
    told = ovl1.json("migrate", "run", "--include-orphans", *mode)
    assert {each["id"]: each["parent"] for each in told["orphans"]} == parents
    assert runs(root, OVERLAY2, work) == saved
    assert orphans_of(shown_by_overlay2(root, disk / "at"), parents) == orphans_of(before, parents)
    ovl1("migrate", "rollback")
    assert runs(root, OVERLAY, work) == saved
    assert orphans_of(shown_by_overlay(root, disk / "at"), parents) == orphans_of(before, parents)


def orphans_of(shown: Dict[str, Shown], parents: Dict[LayerId, LayerId]) -> Dict[str, Shown]:
    return {layer: shown[layer] for layer in parents}


def lose(store: Store, name: str) -> Dict[LayerId, LayerId]:
    """Remove all records of an image's layers over its base; what each of them stood on."""
    layout = store.layout
    chain = store.chain(store.image(name))
    for record in chain[:-1]:
        shutil.rmtree(layout.record(record.chain_id))
    # A build leaves an image of each step.
    for image in store.images.values():
        if image.top != chain[-1].chain_id:
            layout.image_config(image.image_id).unlink()
            shutil.rmtree(layout.image_metadata / image.image_id.hex, ignore_errors=True)
    names = json.loads(layout.repositories.read_text())
    del names["Repositories"][name.partition(":")[0]]
    layout.repositories.write_text(json.dumps(names))
    layers = [record.cache_id for record in chain]
    return dict(zip(layers, layers[1:]))


def runs(root: Path, driver: str, work: Path) -> str:
    """What a daemon makes of what is left."""
    with Daemon(root, driver, work / "daemon") as daemon:
        daemon.docker("run", "--rm", "--network=none", nasty.BASE, "/bin/busybox", "true")
        return daemon.docker("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}")
