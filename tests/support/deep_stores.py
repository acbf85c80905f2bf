"""A store with images of more layers than Docker takes, and what they share with others."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from ovl1.driver.opening import open_driver
from ovl1.images.build import create_container
from ovl1.model import ChainId, ContainerId, ImageId, LayerId
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.writer import create_store
from tests.support.layers import Made, entry
from tests.support.store_builder import StoreBuilder, write, write_tree

CREATED = "2020-01-01T00:00:00Z"
DIGEST = "deep@sha256:" + "d" * 64
SAYS = "cat /counter; ls /data /opt"


class DeepStore(NamedTuple):
    """What is in it."""

    builder: StoreBuilder
    chain: List[ChainId]
    """The layers of ``deeper:1``, lowest first; ``deep:1`` has all but two of them."""
    images: Dict[str, ImageId]
    container: ContainerId
    """On ``deep:1``; has changed ``/counter``."""

    @property
    def layout(self) -> Layout:
        return self.builder.layout


def deep_store(data_root: Path, layers: int, *, busybox: bool = False) -> DeepStore:
    """Images ``deep:1``, ``deep:2`` and ``beside:1`` of so many layers, and ``deeper:1`` of two
    more.

    ``shallow:1`` has the lowest three of them. Needs root.

    Args:
        busybox: whether they can be run.
    """
    create_store(Layout(data_root, OVERLAY))
    builder = StoreBuilder(data_root)
    chain: List[ChainId] = []
    for number in range(layers + 2):
        entries = [*_entries(number), *(_busybox() if busybox and number == 0 else [])]
        chain.append(builder.real_layer(entries, chain[-1] if chain else None))
    beside = builder.real_layer([entry("beside", data=b"b")], chain[layers - 2])
    below, top = chain[layers - 1], chain[-1]
    images = {"deep:1": builder.image(below, "deep:1", DIGEST, **_config(layers))}
    parent = images["deep:1"]
    images["deeper:1"] = builder.image(top, "deeper:1", parent=parent, **_config(layers + 2))
    images["deep:2"] = builder.image(below, "deep:2", **{**_config(layers), "author": "again"})
    images["beside:1"] = builder.image(beside, "beside:1", **_config(layers))
    images["shallow:1"] = builder.image(chain[2], "shallow:1", **_config(3))
    driver = open_driver(data_root, OVERLAY)
    container = create_container(driver, parent, "one", created=CREATED)
    mount_id = LayerId.parse((builder.layout.mount(container) / "mount-id").read_text())
    write_tree(builder.layout.upper(mount_id), {"counter": b"changed\n", "mine": b"m"})
    write(data_root / "volumes" / "mine" / "_data" / "file", "of another kind")
    return DeepStore(builder, chain, images, container)


def names_of(layout: Layout) -> Dict[str, str]:
    """The names of images, of both kinds."""
    repositories = json.loads(layout.repositories.read_text())["Repositories"]
    return {name: target for names in repositories.values() for name, target in names.items()}


def _entries(number: int) -> List[Made]:
    counter = entry("counter", data=b"%d\n" % number)
    if number == 0:
        return [*_base(), counter]
    if number == 1:
        return [counter, entry("data/.wh.gone"), entry("opt/.wh..wh..opq"), entry("opt/new")]
    return [counter, entry(f"data/{number}", data=b"n"), entry(f"data/.wh.{number - 1}")]


def _base() -> List[Made]:
    return [
        *(entry(name, tarfile.DIRTYPE) for name in ("data", "opt")),
        *(entry(f"data/{name}", data=b"old") for name in ("gone", "kept")),
        entry("data/again", tarfile.LNKTYPE, linkname="data/kept"),
        entry("data/noted", data=b"n", pax_headers={"SCHILY.xattr.user.note": "n"}, uid=1000),
        entry("data/pipe", tarfile.FIFOTYPE),
        entry("data/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("opt/old"),
    ]


def _busybox() -> List[Made]:
    content = Path(str(shutil.which("busybox"))).read_bytes()
    return [
        entry("bin", tarfile.DIRTYPE),
        entry("bin/busybox", data=content, mode=0o755),
        *(
            entry(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox")
            for name in ("sh", "cat", "ls")
        ),
    ]


def _config(layers: int) -> Dict[str, Any]:
    """With a step without a layer, between those with one."""
    steps: List[Dict[str, Any]] = [{"created": CREATED, "created_by": "ovl1"}] * layers
    steps.insert(1, {"created": CREATED, "created_by": "ENV", "empty_layer": True})
    own = {"Cmd": ["/bin/sh", "-c", SAYS], "Env": ["PATH=/bin"]}
    return {"created": CREATED, "config": own, "history": steps}
