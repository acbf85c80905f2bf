"""The steps that squash images on the way into the new store, and what they enter there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional

from ovl1.linux import durable
from ovl1.linux.workers import in_parallel
from ovl1.migrate.plan import Plan
from ovl1.migrate.source import Source
from ovl1.migrate.squash import made
from ovl1.migrate.squash.renewed import Renewed, bottoms
from ovl1.migrate.steps import Result
from ovl1.model import Progress
from ovl1.store import layout as names
from ovl1.store import writer
from ovl1.store.containers import read_config
from ovl1.store.jsontext import replace_value
from ovl1.store.layerdb import LayerRecord
from ovl1.store.layout import Layout
from ovl1.tree.remove import remove_path


@dataclass(frozen=True)
class MakeBases:
    """What the layer store is to know of the layers that take the place of others."""

    source: Source
    progress: Progress

    @property
    def what(self) -> str:
        """See `Step`."""
        return "hash the layers that take the place of the lowest ones of deep images"

    def do(self) -> Result:
        """See `Step`."""
        home, store = self.source.area.squashed, self.source.found.store
        remove_path(home)
        home.mkdir(0o700)
        todo = bottoms(store)

        def work(record: LayerRecord) -> None:
            made.make(store, record, home / record.chain_id.hex)

        for number, _ in enumerate(in_parallel(work, todo)):
            self.progress("squashing layers", number, len(todo))
        self.progress("squashing layers", len(todo), len(todo))
        durable.sync_file_system(home)
        return None

    def undo(self) -> None:
        """See `Step`."""
        remove_path(self.source.area.squashed)


def enter(source: Source, target: Layout) -> Dict[str, str]:
    """Enter the squashed images into the copy of the metadata, which has none of them; not synced.

    Returns:
        The new ids of the images, by the old ones.
    """
    renewed = source.renewed
    if renewed is None:
        return {}
    for layer in renewed.layers:
        old = source.store.layout.record(layer.of.chain_id)
        if layer.merged:
            old = source.area.squashed / layer.of.chain_id.hex
        place = target.record(layer.record.chain_id)
        shutil.copytree(old, place, symlinks=True)
        _write(place / names.CACHE_ID, layer.record.cache_id)
        _write(place / names.PARENT, layer.record.parent)
    for container_id, mount in renewed.mounts.items():
        _write(target.mount(container_id) / names.PARENT, mount.parent)
    _enter_images(source, renewed, target)
    return renewed.new_ids()


def _enter_images(source: Source, renewed: Renewed, target: Layout) -> None:
    origin = source.store.layout
    for old_id, new in renewed.images.items():
        writer.write_image(target, new.config)
        old = origin.image_metadatum(old_id)
        if old.is_dir():
            shutil.copytree(old, target.image_metadatum(new.image.image_id), symlinks=True)
    for image_id, image in source.store.images.items():
        if image.parent in renewed.images:
            parent = renewed.images[image.parent].image.image_id
            _write(target.image_metadatum(image_id) / names.PARENT, parent)


def _write(path: Path, text: Optional[str]) -> None:
    """Replace a file of the copy, if there is anything to be written."""
    if text is not None:
        path.unlink(missing_ok=True)
        durable.create_file(path, text.encode(), mode=0o644)


@dataclass(frozen=True)
class NameImages:
    """Containers' configurations, which name their images by id.

    Comes after the step that names the driver in them, and is taken back by that.
    """

    source: Source
    plan: Plan
    layout: Layout
    """Where the configurations are."""

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"name squashed images in {self.layout.containers}"

    def do(self) -> Result:
        """See `Step`."""
        renewed = self.source.renewed
        ids = renewed.new_ids() if renewed else {}
        for container_id in self.plan.containers:
            old = read_config(self.layout, container_id).get("Image")
            if isinstance(old, str) and old in ids:
                path = self.layout.container_config(container_id)
                status = path.stat()
                durable.write_file(
                    path,
                    replace_value(path.read_bytes(), "Image", old, ids[old]),
                    mode=status.st_mode & 0o7777,
                    owner=(status.st_uid, status.st_gid),
                    times_ns=(status.st_atime_ns, status.st_mtime_ns),
                )
        return None

    def undo(self) -> None:
        """See `Step`."""
