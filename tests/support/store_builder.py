"""A data-root made from a short description: real tars, tar-split, trees and metadata.

What it writes is what a daemon 20.10 writes, as far as ovl1 reads it; ids are counted instead of
random. Trees are plain copies (no hardlinks, no devices), so that no privilege is needed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ovl1.formats import tarsplit
from ovl1.model import ChainId, ContainerId, DiffId, ImageId, LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store


class StoreBuilder:
    """Adds layers, images and containers to a data-root."""

    def __init__(self, data_root: Path, driver: str = OVERLAY) -> None:
        self.layout = Layout(data_root.resolve(), driver)
        self.cache_ids: Dict[ChainId, LayerId] = {}
        self._diff_ids: Dict[ChainId, List[DiffId]] = {}
        self._names: Dict[str, Dict[str, str]] = {}
        self._count = 0
        made = (self.layout.home, self.layout.layers, self.layout.image_configs)
        for path in (*made, self.layout.containers):
            path.mkdir(parents=True, exist_ok=True)
        if driver == OVERLAY2:
            self.layout.links.mkdir()
        write(self.layout.repositories, json.dumps({"Repositories": {}}))

    def open(self) -> Store:
        """Read what was written."""
        return Store.open(self.layout.data_root, self.layout.driver)

    def new_id(self) -> str:
        """64 digits that nothing else has."""
        self._count += 1
        return hashlib.sha256(b"id %d" % self._count).hexdigest()

    def layer(
        self,
        files: Mapping[str, bytes],
        parent: Optional[ChainId] = None,
        *,
        buildkit: bool = False,
    ) -> ChainId:
        """Add a layer with these files; as BuildKit makes it, `upper` over its parent's root."""
        tar = tar_of(files)
        split = io.BytesIO()
        diff_id = DiffId(
            "sha256:" + hashlib.sha256(b"".join(tarsplit.split(io.BytesIO(tar), split))).hexdigest()
        )
        chain_id = ChainId.of(parent, diff_id)
        cache_id = LayerId(self.new_id()[:25] if buildkit else self.new_id())
        self.cache_ids[chain_id] = cache_id
        self._diff_ids[chain_id] = [*(self._diff_ids[parent] if parent else []), diff_id]
        self._write_tree(cache_id, files, parent, buildkit=buildkit)
        record = self.layout.record(chain_id)
        write(record / "diff", diff_id)
        write(record / "cache-id", cache_id)
        write(record / "size", str(sum(map(len, files.values()))))
        (record / "tar-split.json.gz").write_bytes(split.getvalue())
        if parent:
            write(record / "parent", parent)
        return chain_id

    def image(
        self,
        top: Optional[ChainId],
        *names: str,
        parent: Optional[ImageId] = None,
        **more: Any,
    ) -> ImageId:
        """Add an image with these names (``name:tag`` or ``name@digest``)."""
        self._count += 1
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": f"2020-01-01T00:00:{self._count % 60:02d}.5Z",
            "rootfs": {"type": "layers", "diff_ids": self._diff_ids[top] if top else []},
            "history": [],
            **more,
        }
        content = json.dumps(config)
        image_id = ImageId("sha256:" + hashlib.sha256(content.encode()).hexdigest())
        write(self.layout.image_config(image_id), content)
        if parent:
            write(self.layout.image_metadatum(image_id) / "parent", parent)
        for name in names:
            repository = name.split("@")[0].rsplit(":", 1)[0]
            self._names.setdefault(repository, {})[name] = image_id
        write(self.layout.repositories, json.dumps({"Repositories": self._names}))
        return image_id

    def container(
        self, image_id: ImageId, top: Optional[ChainId], name: str = "c", **more: Any
    ) -> ContainerId:
        """Add a stopped container with its init and its own layer."""
        container_id = ContainerId(self.new_id())
        mount_id = LayerId(self.new_id())
        init_id = LayerId(f"{mount_id}-init")
        self._write_upper(init_id, {".dockerenv": b""}, top)
        self._write_upper(mount_id, {".dockerenv": b"", "changed": b"c"}, top, init_id)
        record = self.layout.mount(container_id)
        write(record / "mount-id", mount_id)
        write(record / "init-id", init_id)
        if top:
            write(record / "parent", top)
        config = {
            "State": {"Running": False, "Paused": False, "Dead": False, "Pid": 0},
            "ID": container_id,
            "Image": image_id,
            "Name": f"/{name}",
            "Driver": self.layout.driver,
            "MountLabel": "",
            **more,
        }
        write(self.layout.container_config(container_id), json.dumps(config) + "\n")
        return container_id

    def _write_tree(
        self,
        layer_id: LayerId,
        files: Mapping[str, bytes],
        parent: Optional[ChainId],
        *,
        buildkit: bool,
    ) -> None:
        if buildkit or self.layout.driver == OVERLAY2:
            self._write_upper(layer_id, files, parent)
            return
        root = self.layout.root(layer_id)
        if parent:
            shutil.copytree(self.layout.root(self.cache_ids[parent]), root, symlinks=True)
        write_tree(root, files)

    def _write_upper(
        self,
        layer_id: LayerId,
        files: Mapping[str, bytes],
        parent: Optional[ChainId],
        init_id: Optional[LayerId] = None,
    ) -> None:
        """Changes over something: overlay's `upper`, or overlay2's `diff`."""
        below = self.cache_ids[parent] if parent else None
        if self.layout.driver == OVERLAY2:
            self._write_stacked(layer_id, files, init_id or below)
        else:
            write_tree(self.layout.upper(layer_id), files)
            if below:
                write(self.layout.lower_id(layer_id), below)
        self.layout.work(layer_id).mkdir()

    def _write_stacked(
        self, layer_id: LayerId, files: Mapping[str, bytes], below: Optional[LayerId]
    ) -> None:
        write_tree(self.layout.diff(layer_id), files)
        self._count += 1
        short = f"{self._count:026d}".translate(str.maketrans("0123456789", "ABCDEFGHIJ"))
        write(self.layout.link(layer_id), short)
        os.symlink(f"../{layer_id}/diff", self.layout.links / short)
        if below:
            lowers = [f"l/{self.layout.link(below).read_text()}"]
            if self.layout.lower(below).exists():
                lowers.append(self.layout.lower(below).read_text())
            write(self.layout.lower(layer_id), ":".join(lowers))


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A layer's tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """Files below a directory, which is made."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write(path: Path, text: str) -> None:
    """A metadata file, with its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def small_store(data_root: Path, driver: str = OVERLAY) -> StoreBuilder:
    """Two layers, two images (``app:1`` and its base ``base:1``), one container ``c``."""
    builder = StoreBuilder(data_root, driver)
    base = builder.layer({"etc/base": b"base"})
    top = builder.layer({"etc/top": b"top", "bin/tool": b"tool" * 1000}, base)
    history = [{"created_by": "ADD base"}, {"created_by": "RUN top", "comment": "c"}]
    below = builder.image(base, "base:1")
    image = builder.image(top, "app:1", "app:latest", parent=below, history=history)
    builder.container(image, top)
    return builder


def whats(problems: Sequence[Any]) -> List[str]:
    """What each problem says."""
    return [problem.what for problem in problems]
