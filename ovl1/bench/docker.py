"""Images built by Docker itself, with its overlay and overlay2 drivers."""

from __future__ import annotations

import functools
import io
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence, Set, Tuple

from ovl1.bench import archive
from ovl1.bench.builder import Builder, Reading
from ovl1.bench.child import Check, Outcome, Tell, in_child
from ovl1.bench.disk import used
from ovl1.bench.dockerd import Dockerd, Program
from ovl1.bench.steps import Source, Step, last_names
from ovl1.bench.synthetic import Image, Shape
from ovl1.images.dockerarchive import MANIFEST
from ovl1.linux import durable
from ovl1.model import ChainId

_FIRST = Shape(layers=1, files=1, directories=1, symlinks=0)


class Docker(Builder):
    """A daemon with its store on a file system; a context manager.

    Args:
        disk: the file system's mount point.
        driver: the daemon's.
        work: a directory of its own with a short path.
    """

    def __init__(self, disk: Path, program: Program, driver: str, work: Path, check: Check) -> None:
        self._disk = disk.resolve()
        self._work = work
        self._daemon = Dockerd(program, driver, self._disk / "docker", work, check)

    def close(self) -> None:
        """End the daemon; idempotent."""
        self._daemon.close()

    def create(self) -> Optional[int]:
        """See `Builder.create`."""
        # The first image makes directories that stay when it goes.
        first = self._work / "first.tar"
        with first.open("w+b") as file:
            archive.write_archive(Image(_FIRST), file)
        self._daemon.start()
        self._daemon.load(iter([first.read_bytes()]))
        self._daemon.remove(archive.NAME)
        return None

    def apart(self, work: Callable[[Tell], Any], told: Tell, check: Check) -> Outcome:
        """See `Builder.apart`. A daemon is there for it, and is what counts."""
        if not self._daemon.is_running:
            self._daemon.start()
        value = in_child(work, told, check).value
        return Outcome(value, self._daemon.stop())

    def build(self, sources: Sequence[Source], planned: Sequence[Step]) -> Iterator[Reading]:
        """See `Builder.build`."""
        known: Set[ChainId] = set()
        for step in planned:
            files = list(_files(sources[step.source], step, known))
            began = time.monotonic()
            self._daemon.load(archive.stream(files))
            durable.sync_file_system(self._disk)
            seconds = time.monotonic() - began
            if step.replaces:
                self._daemon.remove(step.replaces)
            yield Reading(used(self._disk), seconds)

    def remove(self, planned: Sequence[Step]) -> Reading:
        """See `Builder.remove`."""
        began = time.monotonic()
        for name in last_names(planned):
            self._daemon.remove(name)
        durable.sync_file_system(self._disk)
        seconds = time.monotonic() - began
        return Reading(used(self._disk), seconds)


def _files(source: Source, step: Step, known: Set[ChainId]) -> Iterator[Tuple[str, archive.Opener]]:
    """An archive of the step's image with the layers that are new, which are `known` then.

    ``docker load`` does not look for the others (moby image/tarexport/load.go).
    """
    names = [f"{number:03}/layer.tar" for number in range(step.layers)]
    top: Optional[ChainId] = None
    for name, layer in zip(names, step.image.layers):
        top = ChainId.of(top, layer.diff_id)
        if top not in known:
            known.add(top)
            yield name, functools.partial(source.blobs.open, layer.blob)
    (tag,) = step.image.names
    for name, content in (
        ("config.json", step.image.config),
        (MANIFEST, archive.manifest(tag, names)),
    ):
        yield name, functools.partial(io.BytesIO, content)
