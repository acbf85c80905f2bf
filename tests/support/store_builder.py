"""A data-root made from a short description: real tars, tar-split, trees and metadata.

What it writes is what a daemon 20.10 writes, as far as ovl1 reads it; ids are counted instead of
random. `StoreBuilder.layer` makes trees that are plain copies (no hardlinks, no devices), so that
no privilege is needed; `real_layer` and `real_store` make those of a daemon, and need root.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Mapping, Optional, Sequence

from ovl1.formats import tarsplit
from ovl1.layer.apply import apply_to_root
from ovl1.linux.beneath import Directory
from ovl1.model import ChainId, ContainerId, DiffId, ImageId, LayerId
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from tests.support.layers import Made, entry, make_tar


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
        cache_id = LayerId(self.new_id()[:25] if buildkit else self.new_id())
        size = sum(map(len, files.values()))
        chain_id = self._register(io.BytesIO(tar_of(files)), parent, cache_id, size)
        self._write_tree(cache_id, files, parent, buildkit=buildkit)
        return chain_id

    def real_layer(self, entries: Sequence[Made], parent: Optional[ChainId] = None) -> ChainId:
        """Add a layer with these entries, applied to links of its parent's tree; needs root."""
        tar = make_tar(entries)
        cache_id = LayerId(self.new_id())
        chain_id = self._register(tar, parent, cache_id, sum(entry.size for entry in entries))
        root = self.layout.root(cache_id)
        root.mkdir(parents=True)
        tar.seek(0)
        with contextlib.ExitStack() as stack:
            below = None
            if parent:
                path = self.layout.root(self.cache_ids[parent])
                below = stack.enter_context(Directory.open(path))
            apply_to_root(tar, below, stack.enter_context(Directory.open(root)))
        return chain_id

    def _register(
        self, tar: BinaryIO, parent: Optional[ChainId], cache_id: LayerId, size: int
    ) -> ChainId:
        split = io.BytesIO()
        digest = hashlib.sha256(b"".join(tarsplit.split(tar, split)))
        diff_id = DiffId("sha256:" + digest.hexdigest())
        chain_id = ChainId.of(parent, diff_id)
        self.cache_ids[chain_id] = cache_id
        self._diff_ids[chain_id] = [*(self._diff_ids[parent] if parent else []), diff_id]
        record = self.layout.record(chain_id)
        write(record / "diff", diff_id)
        write(record / "cache-id", cache_id)
        write(record / "size", str(size))
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


def real_store(data_root: Path) -> StoreBuilder:
    """As a daemon leaves it: ``app:1`` and ``other:1`` on one base, a stopped container ``c``.

    Trees share their inodes; there are links of both kinds, specials, attributes, whiteouts and
    opaque directories, in an image layer and in the container. Needs root.
    """
    builder = StoreBuilder(data_root)
    folders = [entry(name, tarfile.DIRTYPE) for name in ("bin", "etc", "opt", "opt/old", "var")]
    base = builder.real_layer(
        [
            *folders,
            entry("bin/tool", data=b"tool" * 1000, mode=0o4755),
            entry("bin/again", tarfile.LNKTYPE, linkname="bin/tool", mode=0o4755),
            entry("etc/base", data=b"base", pax_headers={"SCHILY.xattr.user.note": "n"}),
            entry("etc/link", tarfile.SYMTYPE, linkname="/no/where"),
            entry("opt/old/a", data=b"a"),
            entry("opt/pipe", tarfile.FIFOTYPE),
            entry("opt/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
            entry("var/gone", data=b"gone"),
        ]
    )
    top = builder.real_layer(
        [
            entry("etc/top", data=b"top", uid=1000, gid=1000),
            entry("opt/.wh.old"),
            entry("var", tarfile.DIRTYPE),
            entry("var/.wh..wh..opq"),
            entry("var/new", data=b"new"),
        ],
        base,
    )
    other = builder.real_layer([entry("etc/other", data=b"other")], base)
    image = builder.image(top, "app:1", "app:latest")
    builder.image(other, "other:1")
    container_id = builder.container(image, top)
    mount_id = (builder.layout.mount(container_id) / "mount-id").read_text()
    upper = builder.layout.upper(LayerId(mount_id))
    write_tree(upper, {"etc/top": b"changed", "opt/dir/file": b"in an opaque directory"})
    os.mknod(upper / "etc" / "base", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(upper / "opt", "trusted.overlay.opaque", b"y")
    write(data_root / "volumes" / "metadata.db", "of another kind")
    return builder


def whats(problems: Sequence[Any]) -> List[str]:
    """What each problem says."""
    return [problem.what for problem in problems]
