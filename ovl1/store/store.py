"""The whole store of one driver, read at once: the facade that features work with.

Nothing is written, and what a store has wrong does not stop the reading: it is in `problems`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from ovl1.errors import Refused, WrongUsage
from ovl1.model import ChainId, ContainerId, ImageId, LayerId
from ovl1.store import crosscheck
from ovl1.store.containers import Container, read_containers
from ovl1.store.crosscheck import Parts
from ovl1.store.discovery import discover
from ovl1.store.imagedb import Image, read_images
from ovl1.store.layerdb import LayerRecord, read_layers
from ovl1.store.layout import OVERLAY, Layout
from ovl1.store.lookup import pick
from ovl1.store.mounts import MountRecord, read_mounts
from ovl1.store.problem import Problem
from ovl1.store.references import References, read_references
from ovl1.store.trees import Tree, read_trees


@dataclass(frozen=True)
class Store:
    """Layers, images, names, containers and trees of one driver in one data-root."""

    parts: Parts
    problems: Tuple[Problem, ...]
    """Everything found wrong, in each part and between them, errors before notes."""

    @classmethod
    def open(cls, data_root: Path, driver: str = OVERLAY) -> Store:
        """Read the store.

        Args:
            data_root: Docker's data directory; may be a symbolic link, as Docker allows.
            driver: ``overlay`` or ``overlay2``.

        Raises:
            WrongUsage: there is no such directory, or no store of that driver in it.
            Refused: the store is in the form before Docker 1.10, or half migrated.
            NotPossibleHere: this user may not read it.
        """
        found = discover(data_root)
        found.refuse_if_half_migrated()
        layout = Layout(found.path, driver)
        store = found.store(driver)
        if store is None:
            others = ", ".join(other.driver for other in found.stores) or "none of any driver"
            raise WrongUsage(
                f"there is no {driver} store in {found.path}",
                details=f"Stores found: {others}.",
                resolution="Give the right directory with --data-root; `docker info` tells it as "
                "Docker Root Dir. With user namespaces it is the <uid>.<gid> directory below.",
            )
        if store.is_legacy:
            raise Refused(
                f"{found.path} holds a store in the form before Docker 1.10",
                details="Its images are in graph/ and have no content-addressable ids yet.",
                resolution="Start Docker 1.10 to 18.09 on it once (on a copy, best); that converts "
                "it. Docker 19.03 and later cannot, and would show no images.",
            )
        return cls.of(layout)

    @classmethod
    def of(cls, layout: Layout) -> Store:
        """Read the store at `layout`, whatever is there of it.

        Raises:
            NotPossibleHere: this user may not read it.
        """
        parts = Parts(
            layout=layout,
            layers=read_layers(layout),
            images=read_images(layout),
            references=read_references(layout),
            mounts=read_mounts(layout),
            containers=read_containers(layout),
            trees=read_trees(layout),
        )
        problems = [
            *parts.layers.problems,
            *parts.images.problems,
            *parts.references.problems,
            *parts.mounts.problems,
            *parts.containers.problems,
            *parts.trees.problems,
            *crosscheck.cross_problems(parts),
        ]
        problems.sort(key=lambda problem: (not problem.is_error, problem.where))
        return cls(parts, tuple(problems))

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.parts.layout

    @property
    def layers(self) -> Dict[ChainId, LayerRecord]:
        """The usable image layers; more about them in `parts.layers`."""
        return self.parts.layers.layers

    @property
    def images(self) -> Dict[ImageId, Image]:
        """The usable images."""
        return self.parts.images.images

    @property
    def references(self) -> References:
        """The names of the images."""
        return self.parts.references

    @property
    def mounts(self) -> Dict[ContainerId, MountRecord]:
        """The containers' layers."""
        return self.parts.mounts.mounts

    @property
    def containers(self) -> Dict[ContainerId, Container]:
        """The containers of this driver."""
        return {
            key: container
            for key, container in self.parts.containers.containers.items()
            if container.driver == self.layout.driver
        }

    @property
    def foreign_containers(self) -> Dict[ContainerId, Container]:
        """The containers of other drivers in the same data-root."""
        mine = self.containers
        return {k: c for k, c in self.parts.containers.containers.items() if k not in mine}

    @property
    def trees(self) -> Dict[str, Tree]:
        """The directories of the driver's home."""
        return self.parts.trees.trees

    def place(self, layer_id: LayerId) -> Path:
        """The directory of a layer that is there: that of its tree, which may be another's."""
        return self.layout.layer(self.trees[layer_id].layer_id)

    @property
    def errors(self) -> List[Problem]:
        """The problems that are more than notes."""
        return [problem for problem in self.problems if problem.is_error]

    def orphans(self) -> List[Tree]:
        """The trees that nothing refers to; BuildKit may own those that `is_buildkit`."""
        return crosscheck.orphans(self.parts)

    def image(self, text: str) -> Image:
        """The image that `text` means: a name, or (the beginning of) an id.

        Raises:
            WrongUsage: there is none, or more than one.
        """
        image_id = self.references.resolve(text, self.images)
        if image_id not in self.images:
            raise WrongUsage(
                f"image {text!r} ({image_id.short}) is missing or broken",
                resolution="`ovl1 -v info` says what is wrong with it.",
            )
        return self.images[image_id]

    def container(self, text: str) -> Container:
        """The container that `text` means: its name, or (the beginning of) its id.

        Raises:
            WrongUsage: there is none, or more than one.
        """
        containers = self.containers
        for container in containers.values():
            if container.name == text.lstrip("/"):
                return container
        return pick(text, containers.items(), "container")

    def layer(self, text: str) -> LayerRecord:
        """The layer that `text` means: (the beginning of) a chain id, diff id or cache id.

        Raises:
            WrongUsage: there is none, or more than one.
        """
        return self.parts.layers.find(text)

    def chain(self, image: Image) -> List[LayerRecord]:
        """The layers of an image, top first.

        Raises:
            BrokenStore: one of them is missing or broken.
        """
        return self.parts.layers.chain(image.top) if image.top else []

    def size(self, image: Image) -> int:
        """Bytes of all layers of an image, as ``docker images`` prints them.

        Raises:
            BrokenStore: a layer is missing or broken.
        """
        return sum(record.size for record in self.chain(image))
